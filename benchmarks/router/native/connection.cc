// See connection.h.
#include "connection.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

using namespace http2;

namespace {

constexpr uint32_t kStreamWindow = 1 << 20;
constexpr uint32_t kConnectionWindow = 64 << 20;
constexpr uint32_t kStreams = 100'000;
constexpr size_t kMessagePrefixBytes = 5;
uint8_t read_buffer[256 << 10];

}  // namespace

Connection::Connection(int fd, bool is_server, Handler& handler)
    : fd_(fd), is_server_(is_server), handler_(handler), preface_seen_(!is_server) {
  std::string settings;
  put_setting(settings, kInitialWindowSize, kStreamWindow);
  if (is_server) put_setting(settings, kMaxConcurrentStreams, kStreams);
  if (!is_server) out_.append(kPreface, kPrefaceBytes);
  put_frame(out_, kSettings, 0, 0, settings);
  put_window_update(out_, 0, kConnectionWindow - kDefaultWindow);
}

void Connection::on_readable() {
  const ssize_t count = read(fd_, read_buffer, sizeof read_buffer);
  if (count < 0 && errno == EAGAIN) return;
  if (count <= 0) return lose(count ? strerror(errno) : "closed by the peer");
  const uint8_t* at = read_buffer;
  size_t size = count;
  const bool joined = !in_.empty();
  if (joined) {
    in_.append(reinterpret_cast<const char*>(read_buffer), count);
    at = reinterpret_cast<const uint8_t*>(in_.data());
    size = in_.size();
  }
  size_t done = 0;
  if (!preface_seen_ && size >= kPrefaceBytes) {
    preface_seen_ = true;
    done = kPrefaceBytes;
    if (memcmp(at, kPreface, kPrefaceBytes)) return lose("no HTTP/2 preface");
  }
  while (preface_seen_ && size - done >= kFrameHeaderBytes) {
    const uint8_t* header = at + done;
    const size_t length = get32(header) >> 8;
    if (size - done < kFrameHeaderBytes + length) break;
    on_frame(header[3], header[4], get32(header + 5) & 0x7fffffff, header + kFrameHeaderBytes, length);
    if (lost()) return;
    done += kFrameHeaderBytes + length;
  }
  if (joined) {
    in_.erase(0, done);
  } else {
    in_.assign(reinterpret_cast<const char*>(at) + done, size - done);
  }
}

bool Connection::flush() {
  while (!lost() && sent_ < out_.size()) {
    const ssize_t count = ::send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
    if (count < 0) {
      if (errno == EAGAIN) return false;
      lose(strerror(errno));
      return false;
    }
    sent_ += count;
  }
  out_.clear();
  sent_ = 0;
  return !lost();
}

void Connection::open(Stream& stream, const std::string& header_block) {
  stream.connection = this;
  stream.id = next_id_;
  stream.send_window_ = initial_send_window_;
  next_id_ += 2;
  streams_[stream.id] = &stream;
  send_headers(stream, header_block);
}

void Connection::put_headers(const Stream& stream, const std::string& block, bool end) {
  put_frame(out_, kHeaders, kEndHeaders | (end ? kEndStream : 0), stream.id, block);
}

void Connection::finish(Stream& stream, const std::string& trailer_block) {
  if (stream.unsent_.empty()) {
    put_headers(stream, trailer_block, true);
    handler_.on_finished(stream);
  } else {
    stream.trailers_after_unsent_ = trailer_block;
  }
}

void Connection::send(Stream& stream, const std::string& messages, bool end) {
  if (stream.unsent_.empty() && has_window(stream, messages.size())) {
    put_frame(out_, kData, end ? kEndStream : 0, stream.id, messages);
    stream.send_window_ -= messages.size();
    send_window_ -= messages.size();
    return;
  }
  stream.unsent_ += messages;
  stream.end_after_unsent_ |= end;
  pump(stream);
}

bool Connection::has_window(const Stream& stream, size_t bytes) const {
  return static_cast<int64_t>(bytes) <= std::min({stream.send_window_, send_window_, static_cast<int64_t>(max_frame_)});
}

void Connection::forget(Stream& stream) {
  streams_.erase(stream.id);
  if (stream.waits_) waiting_.erase(std::find(waiting_.begin(), waiting_.end(), &stream));
  stream.waits_ = false;
}

void Connection::lose(const char* why) {
  if (lost()) return;
  close(fd_);
  fd_ = -1;
  handler_.on_lost(*this, why);
  streams_.clear();
  waiting_.clear();
  in_ = out_ = std::string();
  sent_ = 0;
}

Stream* Connection::stream(uint32_t id) const {
  const auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : found->second;
}

std::vector<Stream*> Connection::streams() const {
  std::vector<Stream*> all;
  for (const auto& [id, stream] : streams_) all.push_back(stream);
  return all;
}

void Connection::on_frame(uint8_t type, uint8_t flags, uint32_t id, const uint8_t* payload, size_t size) {
  switch (type) {
    case kData:
      return on_data(flags, id, payload, size);
    case kHeaders: {
      const size_t padding = flags & kPadded ? payload[0] : 0;
      const size_t skipped = (flags & kPadded ? 1 : 0) + (flags & kHasPriority ? 5 : 0);
      if (skipped + padding > size) return lose("HEADERS shorter than its padding");
      header_block_.assign(reinterpret_cast<const char*>(payload) + skipped, size - skipped - padding);
      header_stream_ = id;
      header_flags_ = flags;
      return on_header_block(flags, id);
    }
    case kContinuation:
      header_block_.append(reinterpret_cast<const char*>(payload), size);
      return on_header_block(flags, header_stream_);
    case kRstStream:
      if (Stream* reset = stream(id)) handler_.on_reset(*reset, get32(payload));
      return;
    case kSettings:
      if (!(flags & kAck)) on_settings(payload, size);
      return;
    case kPing:
      if (!(flags & kAck)) put_frame(out_, kPing, kAck, 0, std::string(reinterpret_cast<const char*>(payload), size));
      return;
    case kGoAway:
      return handler_.on_goaway(*this, get32(payload + 4),
                                std::string(reinterpret_cast<const char*>(payload) + 8, size - 8));
    case kWindowUpdate:
      return on_window_update(id, get32(payload) & 0x7fffffff);
  }
}

void Connection::on_data(uint8_t flags, uint32_t id, const uint8_t* payload, size_t size) {
  unreturned_ += size;
  if (unreturned_ > kConnectionWindow / 8) {
    put_window_update(out_, 0, unreturned_);
    unreturned_ = 0;
  }
  Stream* receiver = stream(id);
  if (!receiver) return;  // forgotten here while the frame was on its way
  receiver->unreturned_ += size;
  if (receiver->unreturned_ > kStreamWindow / 4 && !(flags & kEndStream)) {
    put_window_update(out_, id, receiver->unreturned_);
    receiver->unreturned_ = 0;
  }
  if (flags & kPadded) {
    if (size < 1u + payload[0]) return lose("DATA shorter than its padding");
    size -= 1 + payload[0];
    payload++;
  }
  std::string& partial = receiver->partial_;
  if (partial.empty()) {
    const size_t done = take_messages(*receiver, payload, size);
    if (done < size) partial.assign(reinterpret_cast<const char*>(payload) + done, size - done);
  } else {
    partial.append(reinterpret_cast<const char*>(payload), size);
    partial.erase(0, take_messages(*receiver, reinterpret_cast<const uint8_t*>(partial.data()), partial.size()));
  }
  if (flags & kEndStream) handler_.on_end(*receiver);
}

size_t Connection::take_messages(Stream& stream, const uint8_t* data, size_t size) {
  size_t done = 0;
  while (size - done >= kMessagePrefixBytes) {
    const size_t body = get32(data + done + 1);
    if (size - done < kMessagePrefixBytes + body) break;
    handler_.on_message(stream, data + done + kMessagePrefixBytes, body);
    done += kMessagePrefixBytes + body;
  }
  return done;
}

void Connection::on_header_block(uint8_t flags, uint32_t id) {
  if (!(flags & kEndHeaders)) return;
  std::vector<hpack::Field> fields;
  if (!decoder_.decode(reinterpret_cast<const uint8_t*>(header_block_.data()), header_block_.size(), fields))
    return lose("a header block that is not HPACK");
  Stream* receiver = stream(id);
  if (!receiver && is_server_) {
    receiver = handler_.on_accept();
    receiver->connection = this;
    receiver->id = id;
    receiver->send_window_ = initial_send_window_;
    streams_[id] = receiver;
  }
  if (!receiver) return;
  const bool end = header_flags_ & kEndStream;
  handler_.on_headers(*receiver, fields, end);
  if (end) handler_.on_end(*receiver);
}

void Connection::on_settings(const uint8_t* payload, size_t size) {
  for (; size >= 6; payload += 6, size -= 6) {
    const uint32_t value = get32(payload + 2);
    switch (payload[0] << 8 | payload[1]) {
      case kMaxConcurrentStreams:
        max_streams_ = value;
        break;
      case kMaxFrameSize:
        max_frame_ = value;
        break;
      case kInitialWindowSize:
        for (auto& [id, stream] : streams_) stream->send_window_ += value - initial_send_window_;
        initial_send_window_ = value;
        pump_waiting();
        break;
    }
  }
  put_frame(out_, kSettings, kAck, 0, {});
  settled_ = true;
}

void Connection::on_window_update(uint32_t id, uint32_t bytes) {
  if (id == 0) {
    send_window_ += bytes;
    pump_waiting();
  } else if (Stream* widened = stream(id)) {
    widened->send_window_ += bytes;
    if (!widened->unsent_.empty()) pump(*widened);
  }
}

// Sends what the windows allow. The stream may be gone afterwards.
void Connection::pump(Stream& stream) {
  size_t done = 0;
  while (done < stream.unsent_.size()) {
    const int64_t room = std::min({stream.send_window_, send_window_, static_cast<int64_t>(max_frame_),
                                   static_cast<int64_t>(stream.unsent_.size() - done)});
    if (room <= 0) break;
    const bool last = done + room == stream.unsent_.size();
    put_frame_header(out_, room, kData, last && stream.end_after_unsent_ ? kEndStream : 0, stream.id);
    out_.append(stream.unsent_, done, room);
    stream.send_window_ -= room;
    send_window_ -= room;
    done += room;
  }
  stream.unsent_.erase(0, done);
  if (stream.unsent_.empty()) {
    if (!stream.trailers_after_unsent_.empty()) finish(stream, stream.trailers_after_unsent_);
  } else if (!stream.waits_) {
    stream.waits_ = true;
    waiting_.push_back(&stream);
  }
}

void Connection::pump_waiting() {
  std::vector<Stream*> waited;
  waited.swap(waiting_);
  for (Stream* stream : waited) {
    stream->waits_ = false;
    pump(*stream);
  }
}
