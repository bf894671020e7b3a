// The gRPC messages of agentring.v1.SessionService/Converse that are needed, encoded by hand.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>

#include "frames.h"

namespace messages {

constexpr size_t kPrefixBytes = 5;
constexpr size_t kPositionBytes = 18;  // through_seq and acked_frame: a tag and 8 bytes each

// A length-delimited field; lengths from 128 take two bytes.
inline std::string field(int number, const std::string& content) {
  std::string out(1, static_cast<char>(number << 3 | 2));
  if (content.size() < 128) {
    out.push_back(static_cast<char>(content.size()));
  } else {
    out.push_back(static_cast<char>((content.size() & 127) | 128));
    out.push_back(static_cast<char>(content.size() >> 7));
  }
  return out + content;
}

inline std::string with_prefix(const std::string& body) {
  std::string out(1, 0);
  http2::put32(out, body.size());
  return out + body;
}

// ConverseRequest{open{session_id, agent}}
inline std::string open(const std::string& session_id, const std::string& agent) {
  return with_prefix(field(1, field(1, session_id) + field(2, agent)));
}

// The session id in the body of an `open`; empty: it is none.
inline std::string session_of(const uint8_t* body, size_t size) {
  if (size < 4 || body[0] != 0x0a || body[1] >= 128 || body[2] != 0x0a || body[3] > size - 4) return {};
  return std::string(reinterpret_cast<const char*>(body) + 4, body[3]);
}

// ConverseRequest{turn{turn_id}} whose body has `bytes`, from 8 to 120.
inline std::string turn(size_t bytes) { return with_prefix(field(2, field(1, std::string(bytes - 4, 'x')))); }

// ConverseResponse{through_seq, acked_frame, events[1]} whose body has `bytes`, from 32 to 127.
inline std::string response(size_t bytes) {
  std::string body(kPositionBytes, 0);
  body[0] = 0x09;
  body[9] = 0x11;
  return with_prefix(body + field(3, field(4, std::string(bytes - kPositionBytes - 4, 'x'))));
}

// RunTurnRequest{session_id, agent, turn{input{text}}}
inline std::string run_turn(const std::string& session_id, const std::string& agent, const std::string& text) {
  return with_prefix(field(1, session_id) + field(2, agent) + field(3, field(2, field(1, text))));
}

// WatchSessionRequest{session_id, agent, after_seq 0}: from the session's first event on
inline std::string watch(const std::string& session_id, const std::string& agent) {
  return with_prefix(field(1, session_id) + field(2, agent) + "\x19" + std::string(8, 0));
}

// ConverseRequest{turn{input{text}}}
inline std::string turn_of(const std::string& text) { return with_prefix(field(2, field(2, field(1, text)))); }

// Calls `use(number, content, size)` for each length-delimited field of a message, past all others. False: it is no
// message.
template <typename Use>
bool each_field(const uint8_t* at, size_t size, Use use) {
  const uint8_t* const end = at + size;
  const auto varint = [&](uint64_t& value) {
    value = 0;
    for (int shift = 0; at < end && shift < 64; shift += 7) {
      value |= static_cast<uint64_t>(*at & 127) << shift;
      if (!(*at++ & 128)) return true;
    }
    return false;
  };
  uint64_t tag, value;
  while (at < end) {
    if (!varint(tag)) return false;
    switch (tag & 7) {
      case 0:
        if (!varint(value)) return false;
        break;
      case 1:
        value = 8;
        if (static_cast<size_t>(end - at) < value) return false;
        at += value;
        break;
      case 2:
        if (!varint(value) || static_cast<uint64_t>(end - at) < value) return false;
        use(static_cast<int>(tag >> 3), at, static_cast<size_t>(value));
        at += value;
        break;
      default:
        return false;
    }
  }
  return true;
}

// Where the stream is, in a message that `response` made. (All of this is for little-endian machines.)
inline void set_position(std::string& response, uint64_t through_seq, uint64_t acked_frame) {
  memcpy(&response[kPrefixBytes + 1], &through_seq, 8);
  memcpy(&response[kPrefixBytes + 10], &acked_frame, 8);
}

// False: the body does not begin with a position.
inline bool get_position(const uint8_t* body, size_t size, uint64_t& through_seq, uint64_t& acked_frame) {
  if (size < kPositionBytes || body[0] != 0x09 || body[9] != 0x11) return false;
  memcpy(&through_seq, body + 1, 8);
  memcpy(&acked_frame, body + 10, 8);
  return true;
}

}  // namespace messages
