#include "call.h"

#include <algorithm>
#include <random>

namespace {

constexpr char kService[] = "/interop.v1.EchoService/";
constexpr std::chrono::seconds kStuck{1};

enum Tag { kStart = 1, kWrite, kRead, kWritesDone, kHeaders, kFinish };

void* tag_of(int tag) { return reinterpret_cast<void*>(static_cast<intptr_t>(tag)); }

grpc::ByteBuffer buffer_of(const std::string& message) {
  grpc::Slice slice(message);
  return grpc::ByteBuffer(&slice, 1);
}

std::string bytes_of(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  check(buffer.Dump(&slices).ok(), "an answer could not be read");
  std::string found;
  for (const auto& slice : slices) found.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return found;
}

std::string fresh_id() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return std::to_string(random()) + std::to_string(random());
}

}  // namespace

Client::Client(const std::string& target, std::string session) : session(std::move(session)) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(2 * kLimitBytes);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  channel = grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

Call::Call(Client& client, const std::string& method, const Pairs& metadata, std::chrono::seconds within,
           grpc_compression_algorithm compression)
    : id_(fresh_id()) {
  context_.set_deadline(std::chrono::system_clock::now() + within);
  context_.set_compression_algorithm(compression);
  context_.AddMetadata("x-session-id", client.session);
  context_.AddMetadata("call-id", id_);
  for (const auto& [name, value] : metadata) context_.AddMetadata(name, value);
  stream_ = grpc::GenericStub(client.channel).PrepareCall(&context_, kService + method, &queue_);
  stream_->StartCall(tag_of(kStart));
  await(kStart);
}

Call::~Call() {
  if (!finished_) {
    cancel();
    grpc::Status status;
    stream_->Finish(&status, tag_of(kFinish));
    await(kFinish);
  }
  queue_.Shutdown();
  void* tag;
  bool ok;
  while (queue_.Next(&tag, &ok)) {
  }
}

bool Call::await(int tag) {
  while (done_.find(tag) == done_.end()) {
    void* found;
    bool ok;
    check(queue_.Next(&found, &ok), "the queue has ended");
    done_[static_cast<int>(reinterpret_cast<intptr_t>(found))] = ok;
  }
  bool ok = done_[tag];
  done_.erase(tag);
  return ok;
}

void Call::write(const std::string& message) {
  stream_->Write(buffer_of(message), tag_of(kWrite));
  check(await(kWrite), "a message could not be sent");
}

void Call::half_close() {
  stream_->WritesDone(tag_of(kWritesDone));
  check(await(kWritesDone), "the client's side could not be closed");
}

void Call::read_headers() {
  stream_->ReadInitialMetadata(tag_of(kHeaders));
  check(await(kHeaders), "there are no headers");
}

std::optional<std::string> Call::read() {
  grpc::ByteBuffer answer;
  stream_->Read(&answer, tag_of(kRead));
  if (!await(kRead)) return std::nullopt;
  return bytes_of(answer);
}

void Call::expect(const std::string& message) {
  auto answer = read();
  check(answer.has_value(), "the call has ended before its answer");
  check(*answer == message, std::to_string(answer->size()) + " bytes instead of " + std::to_string(message.size()));
}

void Call::exchange(const std::string& message) {
  write(message);
  expect(message);
}

grpc::Status Call::expect_end(grpc::StatusCode code) {
  while (auto answer = read()) check(code != grpc::OK, "an answer too many");
  grpc::Status status;
  stream_->Finish(&status, tag_of(kFinish));
  await(kFinish);
  finished_ = true;
  check(status.error_code() == code,
        "status " + std::to_string(status.error_code()) + ": " + status.error_message());
  return status;
}

void Call::fill(const std::string& message) {
  while (true) {
    stream_->Write(buffer_of(message), tag_of(kWrite));
    void* found;
    bool ok;
    auto told = queue_.AsyncNext(&found, &ok, std::chrono::system_clock::now() + kStuck);
    if (told == grpc::CompletionQueue::TIMEOUT) return;
    check(told == grpc::CompletionQueue::GOT_EVENT && ok, "a message could not be sent");
  }
}

void Call::pump(int count) {
  int written = 0, read = 0;
  grpc::ByteBuffer answer;
  stream_->Write(buffer_of(std::to_string(written)), tag_of(kWrite));
  stream_->Read(&answer, tag_of(kRead));
  while (read < count) {
    void* found;
    bool ok;
    check(queue_.Next(&found, &ok) && ok, "the call has ended after " + std::to_string(read) + " answers");
    switch (reinterpret_cast<intptr_t>(found)) {
      case kWrite:
        if (++written < count)
          stream_->Write(buffer_of(std::to_string(written)), tag_of(kWrite));
        else
          stream_->WritesDone(tag_of(kWritesDone));
        break;
      case kRead:
        check(bytes_of(answer) == std::to_string(read), "not answer " + std::to_string(read));
        if (++read < count) stream_->Read(&answer, tag_of(kRead));
        break;
      case kWritesDone:
        done_[kWritesDone] = true;
        break;
    }
  }
  check(await(kWritesDone), "the client's side could not be closed");
}

std::string unary(Client& client, const std::string& method, const std::string& message, const Pairs& metadata,
                  grpc_compression_algorithm compression) {
  Call call(client, method, metadata, kTimeout, compression);
  call.write(message);
  call.half_close();
  auto answer = call.read();
  call.expect_end();
  check(answer.has_value(), "there is no answer");
  return *answer;
}

void check_outcome(Client& client, const Call& call, const std::vector<std::string>& expected) {
  auto outcome = unary(client, "Outcome", call.id());
  check(std::find(expected.begin(), expected.end(), outcome) != expected.end(), "the outcome is " + outcome);
}
