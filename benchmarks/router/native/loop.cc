// See loop.h.
#include "loop.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "clock.h"

Loop::Loop() : epoll_(epoll_create1(EPOLL_CLOEXEC)), timer_(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, timer_, &event);
}

void Loop::watch(int fd, Source& source) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = &source;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
}

void Loop::watch_writes(int fd, Source& source, bool on) {
  epoll_event event{};
  event.events = EPOLLIN | (on ? EPOLLOUT : 0u);
  event.data.ptr = &source;
  epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
}

void Loop::call_at(int64_t due_ns, std::function<void()> what) {
  timers_.push({due_ns, std::move(what)});
  arm();
}

void Loop::turn(int timeout_ms) {
  epoll_event events[256];
  const int count = epoll_wait(epoll_, events, 256, timeout_ms);
  for (int i = 0; i < count; i++) {
    if (auto* source = static_cast<Source*>(events[i].data.ptr)) {
      source->on_ready(events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR), events[i].events & EPOLLOUT);
    } else {
      call_due();
    }
  }
}

void Loop::arm() {
  if (timers_.empty() || timers_.top().due_ns == armed_ns_) return;
  armed_ns_ = timers_.top().due_ns;
  itimerspec spec{};
  spec.it_value.tv_sec = armed_ns_ / kSecond;
  spec.it_value.tv_nsec = armed_ns_ % kSecond;
  timerfd_settime(timer_, TFD_TIMER_ABSTIME, &spec, nullptr);
}

void Loop::call_due() {
  uint64_t expirations;
  if (read(timer_, &expirations, sizeof expirations) < 0) return;  // re-armed meanwhile
  armed_ns_ = 0;
  while (!timers_.empty() && timers_.top().due_ns <= now_ns()) {
    auto what = timers_.top().what;
    timers_.pop();
    what();
  }
  arm();
}
