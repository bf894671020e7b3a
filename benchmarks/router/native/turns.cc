// Turns of sessions that real nodes have: callers take them in turn, each one turn after the other.
//
// A turn counts when its call, or in a conversation its last event, has said that it was completed; any other end is a
// failure. Latency is from the request to that. Before the first of them, `--idle` streams are opened and left alone:
// conversations that have taken one turn, and watchers of the same sessions, as many of each.
#include <deque>

#include "clock.h"
#include "loads.h"
#include "messages.h"

namespace {

constexpr const char* kAgent = "counter";
constexpr int kEvents = 3, kFirstEnd = 19, kLastEnd = 21;  // of a response; of an event's body: completed ... cancelled
constexpr int kIdleAtOnce = 50;
const std::string kInput(50, 'x');

struct Turn : Call {
  int session = 0;
  bool completed = false, failed = false;
  bool idles = false, watches = false, settled = false;
};

std::string request_headers(const char* method, const std::string& session_id) {
  std::string block = "\x83\x86";  // :method POST, :scheme http
  hpack::put(block, ":path", std::string("/agentring.v1.SessionService/") + method);
  hpack::put(block, ":authority", "127.0.0.1");
  hpack::put(block, "content-type", "application/grpc");
  hpack::put(block, "te", "trailers");
  hpack::put(block, "x-agent", kAgent);
  hpack::put(block, "x-session-id", session_id);
  return block;
}

class Turns : public Load {
 public:
  using Load::Load;

  void start(const std::vector<Connection*>& connections) override {
    connections_ = connections;
    if (begun()) return begin();
    for (int i = 0; i < kIdleAtOnce && idle_opened_ < plan_.idle; i++) converse_idly();
  }

  bool begun() const override { return idle_settled_ >= plan_.idle; }

  void on_message(Stream& stream, const uint8_t* body, size_t size) override {
    auto& turn = static_cast<Turn&>(stream);
    const bool whole = messages::each_field(body, size, [&](int number, const uint8_t* event, size_t event_size) {
      if (number != kEvents) return;
      if (tally_.measures) tally_.events++;
      messages::each_field(event, event_size, [&](int part, const uint8_t*, size_t) {
        turn.completed |= part == kFirstEnd;
        turn.failed |= part > kFirstEnd && part <= kLastEnd;
      });
    });
    if (!whole) tally_.fail("a response is no message");
    turn.idles ? on_idle(turn) : on_event(turn);
  }

 protected:
  void on_event(Call&) override {}

  // The idle streams are there.
  virtual void begin() {
    for (int i = 0; i < plan_.sessions; i++) idle_.push_back(i);
    for (int i = 0; i < plan_.streams; i++) next();
  }

  void converse_idly() {
    Turn& turn = open_idly("Converse", idle_opened_++);
    const std::string id = idle_id(turn.session);
    turn.connection->send(turn, messages::open(id, kAgent) + messages::turn_of(kInput), false);
    turn.connection->flush();
  }

  void watch_idly(int session) {
    Turn& turn = open_idly("WatchSession", session);
    turn.watches = true;
    idle_opened_++;
    turn.connection->send(turn, messages::watch(idle_id(session), kAgent), true);
    turn.connection->flush();
  }

  Turn& open_idly(const char* method, int session) {
    auto* turn = new Turn;
    turn->session = session;
    turn->idles = true;
    connections_[session % connections_.size()]->open(*turn, request_headers(method, idle_id(session)));
    return *turn;
  }

  void on_idle(Turn& turn) {
    if (turn.failed) return tally_.fail("a turn before the idling has not completed");
    if (!turn.completed || turn.settled) return;
    turn.settled = true;
    if (++idle_settled_ == plan_.idle) return begin();
    if (idle_opened_ == plan_.idle) return;
    turn.watches ? converse_idly() : watch_idly(turn.session);
  }

  std::string idle_id(int session) const { return "idle." + plan_.run + "." + std::to_string(session); }

  // Every turn is a call.
  virtual void next() {
    if (idle_.empty()) return tally_.fail("there are fewer sessions than callers");
    auto* turn = new Turn;
    turn->session = idle_.front();
    idle_.pop_front();
    Connection& connection = *connections_[turn->session % connections_.size()];
    const std::string id = session_id(turn->session);
    connection.open(*turn, request_headers("RunTurn", id));
    turn->since_ns = now_ns();
    connection.send(*turn, messages::run_turn(id, kAgent, kInput), true);
    connection.flush();
  }

  bool on_ok(Call& call) override {
    auto& turn = static_cast<Turn&>(call);
    if (turn.idles) return false;
    if (!turn.completed || turn.failed) return false;
    tally_.took(now_ns() - turn.since_ns);
    after(turn.session);
    next();
    return true;
  }

  virtual void after(int session) { idle_.push_back(session); }

  std::string session_id(int number) const { return "turns." + plan_.run + "." + std::to_string(number); }

  std::vector<Connection*> connections_;
  std::deque<int> idle_;  // sessions of which no turn is under way
  int idle_opened_ = 0, idle_settled_ = 0;  // streams
};

// Every turn is a new session's.
class FirstTurns : public Turns {
  using Turns::Turns;

  void begin() override {
    sessions_ = plan_.streams;
    for (int i = 0; i < plan_.streams; i++) idle_.push_back(i);
    for (int i = 0; i < plan_.streams; i++) next();
  }

  void after(int) override { idle_.push_back(sessions_++); }

  int sessions_ = 0;
};

// Every session has a stream of its own, and its turns are frames.
class Conversations : public Turns {
  using Turns::Turns;

  void begin() override {
    for (int i = 0; i < plan_.sessions; i++) {
      auto* turn = new Turn;
      const std::string id = session_id(i);
      Connection& connection = *connections_[i % connections_.size()];
      connection.open(*turn, request_headers("Converse", id));
      connection.send(*turn, messages::open(id, kAgent), false);
      streams_.push_back(turn);
    }
    for (int i = plan_.streams; i < plan_.sessions; i++) waiting_.push_back(streams_[i]);
    for (int i = 0; i < plan_.streams && i < plan_.sessions; i++) say(*streams_[i]);
  }

  void on_event(Call& call) override {
    auto& turn = static_cast<Turn&>(call);
    if (turn.failed) return tally_.fail("a turn has not completed");
    if (!turn.completed) return;
    turn.completed = false;
    tally_.took(now_ns() - turn.since_ns);
    if (tally_.measures) tally_.calls++;
    waiting_.push_back(&turn);
    Turn* following = waiting_.front();
    waiting_.pop_front();
    say(*following);
  }

  void say(Turn& turn) {
    static const std::string frame = messages::turn_of(kInput);
    turn.since_ns = now_ns();
    turn.connection->send(turn, frame, false);
    turn.connection->flush();
  }

  bool on_ok(Call&) override { return false; }

  std::vector<Turn*> streams_;
  std::deque<Turn*> waiting_;
};

}  // namespace

std::unique_ptr<Load> make_turns(const Plan& plan, Tally& tally, Loop& loop) {
  if (plan.load == "turns") return std::make_unique<Turns>(plan, tally, loop);
  if (plan.load == "first-turns") return std::make_unique<FirstTurns>(plan, tally, loop);
  if (plan.load == "conversations") return std::make_unique<Conversations>(plan, tally, loop);
  return nullptr;
}
