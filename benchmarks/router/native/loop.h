// One thread's event loop: readable and writable sockets by epoll, and moments by a timerfd, to the microsecond.
#pragma once
#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

// Something with a file descriptor. It must outlive its last event.
class Source {
 public:
  virtual ~Source() = default;
  virtual void on_ready(bool readable, bool writable) = 0;
};

class Loop {
 public:
  Loop();
  void watch(int fd, Source& source);
  // Whether the source is also told when it can be written to.
  void watch_writes(int fd, Source& source, bool on);
  // Nothing takes a call back: what is called looks whether it is still meant.
  void call_at(int64_t due_ns, std::function<void()> what);
  // Waits for at most so long, and serves what has come.
  void turn(int timeout_ms);

 private:
  struct Timer {
    int64_t due_ns;
    std::function<void()> what;
    bool operator<(const Timer& other) const { return due_ns > other.due_ns; }
  };
  void arm();
  void call_due();

  int epoll_, timer_;
  int64_t armed_ns_ = 0;
  std::priority_queue<Timer> timers_;
};
