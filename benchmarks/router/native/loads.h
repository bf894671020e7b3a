// What the client does with its calls: one class a load.
//
// Every answer is checked: the headers, the position that each event begins with, the count of events, the status. A
// call that fails is counted with the reason of the first, and not opened again.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "connection.h"
#include "loop.h"

// What was asked for on the command line.
struct Plan {
  std::string load;
  int port = 0, connections = 1, streams = 1;
  int sessions = 1;  // of the loads of turns, whose streams are callers
  int idle = 0;      // streams beside them, of these loads alone
  double seconds = 3, warm_s = 1;
  double rate = 0;  // of all streams together, a second
  long tokens = 200;
  long token_rate = 0;  // of one call, a second; 0: as fast as they go
  std::string run;      // in every session's id, so that no two runs share a session
};

// What has happened since the measured interval began; failures since the start.
struct Tally {
  bool measures = false;
  long events = 0, calls = 0, failed = 0;
  long answered = 0;  // calls with a first event, since the start
  std::vector<uint32_t> latencies_ns;
  std::string first_failure;

  void fail(const std::string& why, long calls = 1);
  void took(int64_t ns);
};

// One of our calls.
struct Call : Stream {
  uint64_t sent = 0, got = 0;
  int64_t since_ns = 0;
  std::vector<int64_t> due_ns;  // of the messages that are not answered
  bool accepted = false;
  std::string status;
};

class Load : public Handler {
 public:
  Load(const Plan& plan, Tally& tally, Loop& loop) : plan_(plan), tally_(tally), loop_(loop) {}
  // Opens the calls; every connection is ready.
  virtual void start(const std::vector<Connection*>& connections);
  // Whether what must be there before anything is measured is there.
  virtual bool begun() const { return true; }

  Stream* on_accept() override { return nullptr; }
  void on_headers(Stream& stream, const std::vector<hpack::Field>& fields, bool end) override;
  void on_message(Stream& stream, const uint8_t* body, size_t size) override;
  void on_end(Stream& stream) override;
  void on_finished(Stream&) override {}
  void on_reset(Stream& stream, uint32_t code) override;
  void on_goaway(Connection& connection, uint32_t code, const std::string& text) override;
  void on_lost(Connection& connection, const char* why) override;

 protected:
  virtual void on_event(Call& call) = 0;
  // The call ended well; false: not as it should have.
  virtual bool on_ok(Call& call) = 0;
  // How the ids of its sessions begin: what they ask of the node.
  virtual std::string session_prefix() const { return "echo."; }

  Call& open(Connection& connection, bool end);
  void send_turn(Call& call);

  const Plan& plan_;
  Tally& tally_;
  Loop& loop_;

 private:
  long sessions_ = 0;
};

// Turns of real nodes' sessions (turns.cc). Null: there is no such load.
std::unique_ptr<Load> make_turns(const Plan& plan, Tally& tally, Loop& loop);
// Null: there is no such load.
std::unique_ptr<Load> make_load(const Plan& plan, Tally& tally, Loop& loop);
