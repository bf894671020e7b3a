// See loads.h.
#include "loads.h"

#include <algorithm>
#include <random>

#include "clock.h"
#include "messages.h"

namespace {

constexpr size_t kTurnBytes = 100;
constexpr long kOpeningAtOnce = 100;

std::string request_headers(const std::string& session_id) {
  std::string block = "\x83\x86";  // :method POST, :scheme http
  hpack::put(block, ":path", "/agentring.v1.SessionService/Converse");
  hpack::put(block, ":authority", "127.0.0.1");
  hpack::put(block, "content-type", "application/grpc");
  hpack::put(block, "te", "trailers");
  hpack::put(block, "x-agent", "echo");
  hpack::put(block, "x-session-id", session_id);
  return block;
}

// Every stream has one message under way.
class PingPong : public Load {
  using Load::Load;

  void on_event(Call& call) override {
    tally_.took(now_ns() - call.since_ns);
    send_turn(call);
  }

  bool on_ok(Call&) override { return false; }
};

// Every stream asks for a stream of tokens, then the next one does.
class Tokens : public Load {
  using Load::Load;

  void start(const std::vector<Connection*>& connections) override {
    for (int i = 0; i < plan_.streams; i++) open(*connections[i % connections.size()], true);
  }

  std::string session_prefix() const override {
    return "tokens." + std::to_string(plan_.tokens) + "." + std::to_string(plan_.token_rate) + ".";
  }

  void on_event(Call&) override {}

  bool on_ok(Call& call) override {
    tally_.took(now_ns() - call.since_ns);
    open(*call.connection, true);
    return call.got == static_cast<uint64_t>(plan_.tokens);
  }
};

// One message there and one back is a call.
class ShortCalls : public Load {
  using Load::Load;

  void start(const std::vector<Connection*>& connections) override {
    for (int i = 0; i < plan_.streams; i++) open(*connections[i % connections.size()], true);
  }

  void on_event(Call&) override {}

  bool on_ok(Call& call) override {
    tally_.took(now_ns() - call.since_ns);
    open(*call.connection, true);
    return call.got == 1;
  }
};

// Messages at fixed moments, whether or not those before were answered: latency counts from the moment.
class Paced : public Load {
  using Load::Load;

  void on_event(Call& call) override {
    if (call.got == 1) {  // of the `open`
      std::uniform_int_distribution<int64_t> phase(0, interval_ns());
      return send_at(call, now_ns() + phase(random_));
    }
    tally_.took(now_ns() - call.due_ns.front());
    call.due_ns.erase(call.due_ns.begin());
  }

  void send_at(Call& call, int64_t due_ns) {
    loop_.call_at(due_ns, [this, &connection = *call.connection, id = call.id, due_ns] {
      auto* paced = static_cast<Call*>(connection.stream(id));
      if (!paced) return;
      paced->due_ns.push_back(due_ns);
      send_turn(*paced);
      connection.flush();
      send_at(*paced, due_ns + interval_ns());
    });
  }

  int64_t interval_ns() const { return static_cast<int64_t>(kSecond * plan_.streams / plan_.rate); }

  bool on_ok(Call&) override { return false; }

  std::mt19937 random_{1};
};

// Opens its streams, each with one message there and back, and leaves them alone.
class Idle : public Load {
  using Load::Load;

  void start(const std::vector<Connection*>& connections) override {
    connections_ = connections;
    for (long i = 0; i < kOpeningAtOnce; i++) open_next();
  }

  void on_event(Call&) override { open_next(); }

  void open_next() {
    if (opened_ >= plan_.streams) return;
    Connection& next = *connections_[opened_++ % connections_.size()];
    open(next, false);
    next.flush();
  }

  bool on_ok(Call&) override { return false; }

  std::vector<Connection*> connections_;
  int opened_ = 0;
};

}  // namespace

void Tally::fail(const std::string& why, long calls) {
  if (first_failure.empty()) first_failure = why;
  failed += std::max(calls, 1L);
}

void Tally::took(int64_t ns) {
  if (measures) latencies_ns.push_back(static_cast<uint32_t>(std::min<int64_t>(ns, UINT32_MAX)));
}

void Load::start(const std::vector<Connection*>& connections) {
  for (int i = 0; i < plan_.streams; i++) open(*connections[i % connections.size()], false);
}

void Load::on_headers(Stream& stream, const std::vector<hpack::Field>& fields, bool end) {
  auto& call = static_cast<Call&>(stream);
  std::string status, text;
  for (const auto& [name, value] : fields) {
    if (name == ":status" && !call.accepted) call.accepted = value == "200" && !end;
    if (name == "grpc-status") status = value;
    if (name == "grpc-message") text = " " + value;
  }
  if (end) call.status = call.accepted && status == "0" ? "0" : status + text;
}

void Load::on_message(Stream& stream, const uint8_t* body, size_t size) {
  auto& call = static_cast<Call&>(stream);
  uint64_t seq, frames;
  if (!messages::get_position(body, size, seq, frames) || seq != ++call.got || frames > call.sent)
    tally_.fail("an event is missing, twice or malformed");
  if (call.got == 1) tally_.answered++;
  if (tally_.measures) tally_.events++;
  on_event(call);
}

void Load::on_end(Stream& stream) {
  auto& call = static_cast<Call&>(stream);
  if (call.status != "0") {
    tally_.fail("a call ended with grpc-status " + (call.status.empty() ? "missing" : call.status));
  } else if (on_ok(call)) {
    if (tally_.measures) tally_.calls++;
  } else {
    tally_.fail("a call ended after " + std::to_string(call.got) + " events with OK");
  }
  call.connection->forget(call);
  delete &call;
}

void Load::on_reset(Stream& stream, uint32_t code) {
  tally_.fail("a call was reset with HTTP/2 code " + std::to_string(code));
  stream.connection->forget(stream);
  delete &stream;
}

void Load::on_goaway(Connection&, uint32_t code, const std::string& text) {
  tally_.fail("GOAWAY with HTTP/2 code " + std::to_string(code) + " " + text);
}

void Load::on_lost(Connection& connection, const char* why) {
  tally_.fail(std::string("a connection was lost: ") + why, connection.streams().size());
}

Call& Load::open(Connection& connection, bool end) {
  const std::string session_id = session_prefix() + plan_.run + "." + std::to_string(sessions_++);
  auto* call = new Call;
  connection.open(*call, request_headers(session_id));
  call->since_ns = now_ns();
  call->sent = 1;
  connection.send(*call, messages::open(session_id, "echo"), end);
  return *call;
}

void Load::send_turn(Call& call) {
  static const std::string turn = messages::turn(kTurnBytes);
  call.since_ns = now_ns();
  call.sent++;
  call.connection->send(call, turn, false);
}

std::unique_ptr<Load> make_load(const Plan& plan, Tally& tally, Loop& loop) {
  if (plan.load == "pingpong") return std::make_unique<PingPong>(plan, tally, loop);
  if (plan.load == "tokens") return std::make_unique<Tokens>(plan, tally, loop);
  if (plan.load == "calls") return std::make_unique<ShortCalls>(plan, tally, loop);
  if (plan.load == "paced") return std::make_unique<Paced>(plan, tally, loop);
  if (plan.load == "idle") return std::make_unique<Idle>(plan, tally, loop);
  return make_turns(plan, tally, loop);
}
