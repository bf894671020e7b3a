#include "cases.h"

#include <list>
#include <thread>

namespace {

constexpr int kChunkBytes = 64 << 10;
constexpr int kMessages = 10'000;
constexpr int kStreams = 200;
constexpr int kNeighbours = 20;
constexpr int kRoundTrips = 100;
constexpr int kSlowChunks = 128;  // 8 MiB in all: more than every window and buffer on the way
constexpr std::chrono::seconds kShortTime{3};
constexpr std::chrono::seconds kShortLatest{15};
const std::string kStatusMessage = "größer: 100% of 世界, %41%zz 😀";

// So many bytes, no two neighbours the same.
std::string payload(int size) {
  std::string bytes(size, '\0');
  for (int i = 0; i < size; i++) bytes[i] = static_cast<char>(i % 251);
  return bytes;
}

std::string every_byte() {
  std::string bytes;
  for (int i = 0; i < 256; i++) bytes.push_back(static_cast<char>(i));
  return bytes;
}

Pairs echoed() {
  return {{"echo-text", "a value, with ~ all! sorts"},
          {"echo-twice", "first"},
          {"echo-twice", "second"},
          {"echo-bytes-bin", every_byte()}};
}

Pairs failing(grpc::StatusCode code) {
  auto pairs = echoed();
  pairs.emplace_back("fail-code", std::to_string(code));
  pairs.emplace_back("fail-message-bin", kStatusMessage);
  return pairs;
}

using Told = std::multimap<grpc::string_ref, grpc::string_ref>;

std::vector<std::string> values(const Told& told, const char* name) {
  std::vector<std::string> found;
  auto range = told.equal_range(name);
  for (auto each = range.first; each != range.second; ++each) found.emplace_back(each->second.data(), each->second.size());
  return found;
}

void check_echoed(const Told& told) {
  check(values(told, "echo-text") == std::vector<std::string>{"a value, with ~ all! sorts"}, "echo-text");
  check(values(told, "echo-twice") == std::vector<std::string>{"first", "second"}, "echo-twice");
  check(values(told, "echo-bytes-bin") == std::vector<std::string>{every_byte()}, "echo-bytes-bin");
}

void send_one(Call& call, const std::string& message) {
  call.write(message);
  call.half_close();
}

void unary_case(Client& c) { check(unary(c, "Unary", "one message") == "one message", "another answer"); }

void client_stream(Client& c) {
  Call call(c, "ClientStream");
  std::string all;
  for (int n = 0; n < 100; n++) {
    call.write(std::to_string(n));
    all += std::to_string(n);
  }
  call.half_close();
  call.expect(all);
  call.expect_end();
}

void server_stream(Client& c) {
  Call call(c, "ServerStream", {{"count", "100"}});
  send_one(call, "again");
  for (int n = 0; n < 100; n++) call.expect("again");
  call.expect_end();
}

void bidi(Client& c) {
  Call call(c, "BidiStream");
  for (int n = 0; n < 100; n++) call.exchange(std::to_string(n));
  call.half_close();
  call.expect_end();
}

template <int size>
void message_of(Client& c) {
  check(unary(c, "Unary", payload(size)) == payload(size), "another answer");
}

void message_over_limit(Client& c) {
  Call call(c, "Unary");
  call.write(payload(kLimitBytes + 1));
  auto status = call.expect_end(grpc::RESOURCE_EXHAUSTED);
  check(status.error_details().find("MESSAGE_TOO_LARGE") != std::string::npos, status.error_message());
  unary_case(c);
}

void bidi_10000(Client& c) {
  Call call(c, "BidiStream");
  call.pump(kMessages);
  call.expect_end();
}

void compression(Client& c) {
  std::string message;
  for (int n = 0; n < 10'000; n++) message += "compressible ";
  check(unary(c, "Unary", message, {{"compress", "gzip"}}, GRPC_COMPRESS_GZIP) == message, "another answer");
}

void deadline(Client& c) {
  auto began = std::chrono::steady_clock::now();
  Call call(c, "Hold", {}, kShortTime);
  call.exchange("held");
  call.expect_end(grpc::DEADLINE_EXCEEDED);
  auto took = std::chrono::steady_clock::now() - began;
  check(took > kShortTime * 9 / 10 && took < kShortLatest, "not in time");
  check_outcome(c, call, {"cancelled"});
}

void cancelled(Client& c, Call& call) {
  call.cancel();
  call.expect_end(grpc::CANCELLED);
  check_outcome(c, call, {"cancelled"});
}

void cancel_before_headers(Client& c) {
  Call call(c, "Hold");
  call.cancel();
  call.expect_end(grpc::CANCELLED);
  check_outcome(c, call, {"unknown", "cancelled"});
}

void cancel_after_headers(Client& c) {
  Call call(c, "Hold");
  call.read_headers();
  cancelled(c, call);
}

void cancel_mid_stream(Client& c) {
  Call call(c, "Hold");
  call.exchange("held");
  call.exchange("on");
  cancelled(c, call);
}

void cancel_after_half_close(Client& c) {
  Call call(c, "Hold");
  call.exchange("held");
  call.half_close();
  call.expect("half-closed");
  cancelled(c, call);
}

void cancel_while_sending(Client& c) {
  Call call(c, "Ignore");
  call.read_headers();
  call.fill(payload(kChunkBytes));
  cancelled(c, call);
}

void cancel_while_receiving(Client& c) {
  Call call(c, "ServerStream", {{"count", std::to_string(kSlowChunks)}});
  send_one(call, payload(kChunkBytes));
  call.expect(payload(kChunkBytes));
  cancelled(c, call);
}

void metadata(Client& c) {
  Call call(c, "BidiStream", echoed());
  call.exchange("with metadata");
  check_echoed(call.context().GetServerInitialMetadata());
  check(values(call.context().GetServerInitialMetadata(), "x-agentring-node") == std::vector<std::string>{"hosted"},
        "x-agentring-node");
  call.half_close();
  call.expect_end();
  check_echoed(call.context().GetServerTrailingMetadata());
}

void status(Client& c) {
  Call call(c, "Fail", failing(grpc::FAILED_PRECONDITION));
  send_one(call, "one answer");
  call.expect("one answer");
  auto told = call.expect_end(grpc::FAILED_PRECONDITION);
  check(told.error_message() == kStatusMessage, told.error_message());
  check_echoed(call.context().GetServerTrailingMetadata());
}

void trailers_only(Client& c) {
  Call call(c, "Abort", failing(grpc::PERMISSION_DENIED));
  auto told = call.expect_end(grpc::PERMISSION_DENIED);
  check(told.error_message() == kStatusMessage, told.error_message());
  check_echoed(call.context().GetServerTrailingMetadata());
}

void slow_reader(Client& c) {
  Call slow(c, "ServerStream", {{"count", std::to_string(kSlowChunks)}});
  send_one(slow, payload(kChunkBytes));
  slow.expect(payload(kChunkBytes));
  std::vector<std::string> failures(kNeighbours);
  std::vector<std::thread> neighbours;
  for (int each = 0; each < kNeighbours; each++) {
    neighbours.emplace_back([&c, &failure = failures[each]] {
      try {
        Call call(c, "BidiStream");
        for (int n = 0; n < kRoundTrips; n++) call.exchange(std::to_string(n));
        call.half_close();
        call.expect_end();
      } catch (const std::exception& error) {
        failure = error.what();
      }
    });
  }
  for (auto& neighbour : neighbours) neighbour.join();
  for (const auto& failure : failures) check(failure.empty(), failure);
  for (int n = 1; n < kSlowChunks; n++) slow.expect(payload(kChunkBytes));
  slow.expect_end();
}

void many_streams(Client& c) {
  std::list<Call> calls;
  for (int n = 0; n < kStreams; n++) calls.emplace_back(c, "BidiStream").exchange(std::to_string(n));
  for (auto& call : calls) call.half_close();
  for (auto& call : calls) call.expect_end();
}

}  // namespace

const std::vector<std::pair<std::string, void (*)(Client&)>> kCases = {
    {"unary", unary_case},
    {"client_stream", client_stream},
    {"server_stream", server_stream},
    {"bidi", bidi},
    {"message_0B", message_of<0>},
    {"message_1B", message_of<1>},
    {"message_4MiB", message_of<kLimitBytes>},
    {"message_over_limit", message_over_limit},
    {"bidi_10000", bidi_10000},
    {"compression", compression},
    {"deadline", deadline},
    {"cancel_before_headers", cancel_before_headers},
    {"cancel_after_headers", cancel_after_headers},
    {"cancel_mid_stream", cancel_mid_stream},
    {"cancel_after_half_close", cancel_after_half_close},
    {"cancel_while_sending", cancel_while_sending},
    {"cancel_while_receiving", cancel_while_receiving},
    {"metadata", metadata},
    {"status", status},
    {"trailers_only", trailers_only},
    {"slow_reader", slow_reader},
    {"many_streams", many_streams},
};
