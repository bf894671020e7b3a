// HTTP/2 frames (RFC 9113 section 4 and 6): their numbers, and writing them to a buffer.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>

namespace http2 {

enum Type : uint8_t {
  kData = 0,
  kHeaders = 1,
  kRstStream = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};

enum Flag : uint8_t { kEndStream = 1, kAck = 1, kEndHeaders = 4, kPadded = 8, kHasPriority = 32 };

enum Setting : uint16_t { kMaxConcurrentStreams = 3, kInitialWindowSize = 4, kMaxFrameSize = 5 };

constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr size_t kPrefaceBytes = sizeof kPreface - 1;
constexpr size_t kFrameHeaderBytes = 9;
constexpr int64_t kDefaultWindow = 65535;
constexpr uint32_t kDefaultMaxFrame = 16384;

inline uint32_t get32(const uint8_t* at) {
  uint32_t word;
  memcpy(&word, at, 4);
  return __builtin_bswap32(word);
}

inline void put32(std::string& out, uint32_t value) {
  value = __builtin_bswap32(value);
  out.append(reinterpret_cast<const char*>(&value), 4);
}

inline void put_frame_header(std::string& out, size_t length, Type type, uint8_t flags, uint32_t stream_id) {
  const uint32_t id = __builtin_bswap32(stream_id);
  char header[kFrameHeaderBytes] = {static_cast<char>(length >> 16), static_cast<char>(length >> 8),
                                    static_cast<char>(length), static_cast<char>(type), static_cast<char>(flags)};
  memcpy(header + 5, &id, 4);
  out.append(header, sizeof header);
}

inline void put_frame(std::string& out, Type type, uint8_t flags, uint32_t stream_id, const std::string& payload) {
  put_frame_header(out, payload.size(), type, flags, stream_id);
  out += payload;
}

inline void put_setting(std::string& payload, Setting name, uint32_t value) {
  payload.push_back(0);
  payload.push_back(static_cast<char>(name));
  put32(payload, value);
}

inline void put_window_update(std::string& out, uint32_t stream_id, uint32_t bytes) {
  put_frame_header(out, 4, kWindowUpdate, 0, stream_id);
  put32(out, bytes);
}

}  // namespace http2
