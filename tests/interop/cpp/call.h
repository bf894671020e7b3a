// One call with a stream each way, whose messages are bytes, and the connection that it goes over.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

using Pairs = std::vector<std::pair<std::string, std::string>>;

constexpr int kLimitBytes = 4 << 20;
constexpr std::chrono::seconds kTimeout{40};

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void check(bool holds, const std::string& told) {
  if (!holds) throw Failure(told);
}

// A connection, and the session that its calls are about.
struct Client {
  std::shared_ptr<grpc::Channel> channel;
  std::string session;

  Client(const std::string& target, std::string session);
};

class Call {
 public:
  Call(Client& client, const std::string& method, const Pairs& metadata = {},
       std::chrono::seconds within = kTimeout,
       grpc_compression_algorithm compression = GRPC_COMPRESS_NONE);
  ~Call();
  Call(const Call&) = delete;

  // The id under which the backend knows the call.
  const std::string& id() const { return id_; }
  grpc::ClientContext& context() { return context_; }

  void write(const std::string& message);
  void half_close();
  void cancel() { context_.TryCancel(); }
  void read_headers();
  // The next answer; none: the call has ended.
  std::optional<std::string> read();
  // Reads an answer that must be this.
  void expect(const std::string& message);
  // Sends a message and reads its echo.
  void exchange(const std::string& message);
  // Reads on until the call's end, which must be this.
  grpc::Status expect_end(grpc::StatusCode code = grpc::OK);
  // Sends until the backend takes no more.
  void fill(const std::string& message);
  // Sends and reads this many numbered messages at the same time, in order, then half-closes.
  void pump(int count);

 private:
  bool await(int tag);

  std::string id_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  std::map<int, bool> done_;
  bool finished_ = false;
};

// What the only answer to one message is; fails where the call does.
std::string unary(Client& client, const std::string& method, const std::string& message,
                  const Pairs& metadata = {},
                  grpc_compression_algorithm compression = GRPC_COMPRESS_NONE);

// The backend must have seen the call end in one of these ways.
void check_outcome(Client& client, const Call& call, const std::vector<std::string>& expected);
