// One end of an HTTP/2 connection that carries gRPC calls, for the client and for the node alike.
//
// It obeys its peer's flow control (the connection's window, each stream's, a changed or zero initial window), its
// largest frame and its pings, and grants large windows itself: 1 MiB a stream, 64 MiB a connection, topped up as they
// are used. What does not fit into a window waits in the stream. What comes in is handed to a Handler, message by
// message.
#pragma once
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "frames.h"
#include "hpack.h"

class Connection;

// One call. Who uses Connection derives from it, and owns what it derives.
struct Stream {
  virtual ~Stream() = default;
  Connection* connection = nullptr;
  uint32_t id = 0;

 private:
  friend class Connection;
  int64_t send_window_ = 0;
  uint32_t unreturned_ = 0;     // bytes received whose window was not given back yet
  std::string unsent_;          // what waits for a window
  bool end_after_unsent_ = false;
  std::string trailers_after_unsent_;
  bool waits_ = false;          // stands in Connection::waiting_
  std::string partial_;         // a message whose rest has not come
};

// What a connection tells its user. In on_end, on_finished and on_reset the stream may be forgotten; in the others not.
class Handler {
 public:
  virtual ~Handler() = default;
  virtual Stream* on_accept() = 0;  // the stream of a new call; null: there are none for this end
  virtual void on_headers(Stream& stream, const std::vector<hpack::Field>& fields, bool end) = 0;
  virtual void on_message(Stream& stream, const uint8_t* body, size_t size) = 0;
  virtual void on_end(Stream& stream) = 0;       // the peer's side is closed
  virtual void on_finished(Stream& stream) = 0;  // the trailers are out
  virtual void on_reset(Stream& stream, uint32_t code) = 0;
  virtual void on_goaway(Connection& connection, uint32_t code, const std::string& text) = 0;
  virtual void on_lost(Connection& connection, const char* why) = 0;  // all its streams are forgotten after this call
};

class Connection {
 public:
  // fd: connected and non-blocking; closed with the connection.
  Connection(int fd, bool is_server, Handler& handler);

  void on_readable();
  // False: the connection is lost, or its peer does not read.
  bool flush();

  // As a client: a new call with these headers.
  void open(Stream& stream, const std::string& header_block);
  void send_headers(Stream& stream, const std::string& header_block) { put_headers(stream, header_block, false); }
  // One or more gRPC messages, with their prefixes.
  void send(Stream& stream, const std::string& messages, bool end);
  // As a server: the call's end, behind what waits for a window; on_finished follows.
  void finish(Stream& stream, const std::string& trailer_block);
  // Whether `send` of so many bytes would leave at once.
  bool has_window(const Stream& stream, size_t bytes) const;
  // The stream is over, or given up; its memory is the caller's.
  void forget(Stream& stream);
  void lose(const char* why);

  int fd() const { return fd_; }
  bool lost() const { return fd_ < 0; }
  bool settled() const { return settled_; }  // the peer's SETTINGS have come
  uint32_t max_streams() const { return max_streams_; }
  size_t unsent_bytes() const { return out_.size() - sent_; }
  Stream* stream(uint32_t id) const;
  std::vector<Stream*> streams() const;

 private:
  void on_frame(uint8_t type, uint8_t flags, uint32_t id, const uint8_t* payload, size_t size);
  void on_data(uint8_t flags, uint32_t id, const uint8_t* payload, size_t size);
  void on_header_block(uint8_t flags, uint32_t id);
  void on_settings(const uint8_t* payload, size_t size);
  void on_window_update(uint32_t id, uint32_t bytes);
  size_t take_messages(Stream& stream, const uint8_t* data, size_t size);
  void put_headers(const Stream& stream, const std::string& block, bool end);
  void pump(Stream& stream);
  void pump_waiting();

  int fd_;
  bool is_server_;
  Handler& handler_;
  std::string in_, out_;
  size_t sent_ = 0;
  bool preface_seen_ = false, settled_ = false;
  int64_t send_window_ = http2::kDefaultWindow;
  int64_t initial_send_window_ = http2::kDefaultWindow;
  uint32_t max_frame_ = http2::kDefaultMaxFrame;
  uint32_t max_streams_ = UINT32_MAX;
  uint32_t unreturned_ = 0;
  uint32_t next_id_ = 1;
  hpack::Decoder decoder_;
  std::string header_block_;
  uint32_t header_stream_ = 0;
  uint8_t header_flags_ = 0;
  std::unordered_map<uint32_t, Stream*> streams_;
  std::vector<Stream*> waiting_;
};
