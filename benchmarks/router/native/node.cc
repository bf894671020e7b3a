// Plays agent nodes: answers every call at once, as its session's id asks for, and never runs an agent.
//
//   node NAME:PORT ...
//
// `tokens.COUNT.RATE.` and more: COUNT events, RATE a second (0: as fast as the windows let them go, each in a DATA
// frame of its own). Any other id: every message is answered by one event. A call ends when the client has closed its
// side and was sent everything. A JSON line on stdout tells that all ports listen.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "clock.h"
#include "connection.h"
#include "loop.h"
#include "messages.h"

namespace {

constexpr size_t kEventBytes = 100;
constexpr size_t kFloodBuffer = 64 << 10;  // of one connection: what a flood leaves to be written

struct Call : Stream {
  bool opened = false, client_done = false;
  long tokens_left = 0;
  int64_t interval_ns = 0, next_ns = 0;
  uint64_t seq = 0, frames = 0;
};

std::string trailers() {
  std::string block;
  hpack::put(block, "grpc-status", "0");
  return block;
}

// One accepted connection.
class Peer : public Source, public Handler {
 public:
  Peer(Loop& loop, int fd, const std::string& node) : loop_(loop), connection_(fd, true, *this) {
    answer_.push_back(static_cast<char>(0x88));  // :status 200
    hpack::put(answer_, "content-type", "application/grpc");
    hpack::put(answer_, "x-agentring-node", node);
    hpack::put(answer_, "x-agentring-epoch", "7");
    loop.watch(fd, *this);
    connection_.flush();
  }

  void on_ready(bool readable, bool) override {
    if (connection_.lost()) return;
    if (readable) connection_.on_readable();
    write();
  }

  Stream* on_accept() override { return new Call; }

  void on_headers(Stream& stream, const std::vector<hpack::Field>&, bool) override {
    connection_.send_headers(stream, answer_);
  }

  void on_message(Stream& stream, const uint8_t* body, size_t size) override {
    auto& call = static_cast<Call&>(stream);
    call.frames++;
    long count, rate;
    if (!call.opened) {
      call.opened = true;
      const std::string session = messages::session_of(body, size);
      if (sscanf(session.c_str(), "tokens.%ld.%ld.", &count, &rate) == 2) return stream_tokens(call, count, rate);
    }
    if (!call.tokens_left) send_event(call);
  }

  void on_end(Stream& stream) override {
    auto& call = static_cast<Call&>(stream);
    call.client_done = true;
    finish_when_done(call);
  }

  void on_finished(Stream& stream) override { drop(static_cast<Call&>(stream)); }
  void on_reset(Stream& stream, uint32_t) override { drop(static_cast<Call&>(stream)); }
  void on_goaway(Connection&, uint32_t, const std::string&) override {}

  void on_lost(Connection&, const char*) override {
    flooding_.clear();
    for (Stream* stream : connection_.streams()) delete stream;
  }

 private:
  void write() {
    const bool more = flood();
    connection_.flush();
    if (connection_.lost()) return;
    // With more to write there is another turn for it, between those of the other connections.
    const bool wants = more || connection_.unsent_bytes();
    if (wants != watches_writes_) loop_.watch_writes(connection_.fd(), *this, wants);
    watches_writes_ = wants;
  }

  // One event for each flooding call in turn, while they have windows; true: the buffer is full before.
  bool flood() {
    for (bool more = true; more;) {
      more = false;
      for (size_t i = 0; i < flooding_.size();) {
        Call& call = *flooding_[i];
        if (connection_.unsent_bytes() > kFloodBuffer) return true;
        if (!connection_.has_window(call, event_.size())) {
          i++;
          continue;
        }
        send_event(call);
        more = true;
        if (--call.tokens_left) {
          i++;
        } else {
          flooding_.erase(flooding_.begin() + i);
          finish_when_done(call);
        }
      }
    }
    return false;
  }

  void stream_tokens(Call& call, long count, long rate) {
    call.tokens_left = count;
    if (rate == 0) {
      flooding_.push_back(&call);
      return;
    }
    call.interval_ns = kSecond / rate;
    call.next_ns = now_ns() + rand() % call.interval_ns;
    call_later(call);
  }

  void call_later(Call& call) {
    loop_.call_at(call.next_ns, [this, id = call.id] {
      auto* paced = static_cast<Call*>(connection_.stream(id));
      if (!paced) return;
      send_event(*paced);
      paced->next_ns += paced->interval_ns;
      if (--paced->tokens_left) {
        call_later(*paced);
      } else {
        finish_when_done(*paced);
      }
      write();
    });
  }

  void send_event(Call& call) {
    messages::set_position(event_, ++call.seq, call.frames);
    connection_.send(call, event_, false);
  }

  void finish_when_done(Call& call) {
    if (call.tokens_left || !call.client_done) return;
    static const std::string block = trailers();
    connection_.finish(call, block);
  }

  void drop(Call& call) {
    flooding_.erase(std::remove(flooding_.begin(), flooding_.end(), &call), flooding_.end());
    connection_.forget(call);
    delete &call;
  }

  Loop& loop_;
  Connection connection_;
  std::string answer_;
  std::string event_ = messages::response(kEventBytes);
  std::vector<Call*> flooding_;
  bool watches_writes_ = false;
};

// One node's port.
class Listener : public Source {
 public:
  Listener(Loop& loop, const std::string& node, int port) : loop_(loop), node_(node) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) || listen(fd_, 4096)) {
      perror("node: cannot listen");
      exit(1);
    }
    loop.watch(fd_, *this);
  }

  void on_ready(bool, bool) override {
    for (int fd; (fd = accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
      const int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      peers_.push_back(std::make_unique<Peer>(loop_, fd, node_));
    }
  }

 private:
  Loop& loop_;
  std::string node_;
  int fd_;
  std::vector<std::unique_ptr<Peer>> peers_;
};

}  // namespace

int main(int count, char** arguments) {
  Loop loop;
  std::vector<std::unique_ptr<Listener>> listeners;
  for (int i = 1; i < count; i++) {
    const std::string argument = arguments[i];
    const size_t colon = argument.rfind(':');
    if (colon == std::string::npos) {
      fprintf(stderr, "node: %s is not NAME:PORT\n", arguments[i]);
      return 2;
    }
    listeners.push_back(
        std::make_unique<Listener>(loop, argument.substr(0, colon), atoi(argument.c_str() + colon + 1)));
  }
  puts("{\"ready\": true}");
  fflush(stdout);
  for (;;) loop.turn(-1);
}
