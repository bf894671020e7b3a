// See hpack.h. The Huffman code is canonical, so its code lengths say everything (RFC 7541 appendix B).
#include "hpack.h"

#include <array>

namespace hpack {
namespace {

constexpr size_t kStaticFields = 61;
constexpr size_t kEntryOverhead = 32;
constexpr int kSymbols = 257;
constexpr int kEndOfString = 256;
constexpr int kLongestCode = 30;

const std::array<Field, kStaticFields> kStatic = {{
    {":authority", ""}, {":method", "GET"}, {":method", "POST"}, {":path", "/"}, {":path", "/index.html"},
    {":scheme", "http"}, {":scheme", "https"}, {":status", "200"}, {":status", "204"}, {":status", "206"},
    {":status", "304"}, {":status", "400"}, {":status", "404"}, {":status", "500"}, {"accept-charset", ""},
    {"accept-encoding", "gzip, deflate"}, {"accept-language", ""}, {"accept-ranges", ""}, {"accept", ""},
    {"access-control-allow-origin", ""}, {"age", ""}, {"allow", ""}, {"authorization", ""}, {"cache-control", ""},
    {"content-disposition", ""}, {"content-encoding", ""}, {"content-language", ""}, {"content-length", ""},
    {"content-location", ""}, {"content-range", ""}, {"content-type", ""}, {"cookie", ""}, {"date", ""}, {"etag", ""},
    {"expect", ""}, {"expires", ""}, {"from", ""}, {"host", ""}, {"if-match", ""}, {"if-modified-since", ""},
    {"if-none-match", ""}, {"if-range", ""}, {"if-unmodified-since", ""}, {"last-modified", ""}, {"link", ""},
    {"location", ""}, {"max-forwards", ""}, {"proxy-authenticate", ""}, {"proxy-authorization", ""}, {"range", ""},
    {"referer", ""}, {"refresh", ""}, {"retry-after", ""}, {"server", ""}, {"set-cookie", ""},
    {"strict-transport-security", ""}, {"transfer-encoding", ""}, {"user-agent", ""}, {"vary", ""}, {"via", ""},
    {"www-authenticate", ""},
}};

constexpr uint8_t kCodeLengths[kSymbols] = {
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30};

// The canonical code: for each length the first code of that length, and its symbols in order.
struct Huffman {
  uint32_t first[kLongestCode + 2] = {};
  std::vector<uint16_t> symbols[kLongestCode + 1];

  Huffman() {
    for (int symbol = 0; symbol < kSymbols; symbol++) symbols[kCodeLengths[symbol]].push_back(symbol);
    for (int length = 1; length <= kLongestCode; length++)
      first[length + 1] = (first[length] + symbols[length].size()) << 1;
  }
};

bool unhuffman(const uint8_t* at, size_t size, std::string& text) {
  static const Huffman huffman;
  uint32_t code = 0;
  int length = 0;
  for (size_t bit = 0; bit < size * 8; bit++) {
    code = code << 1 | (at[bit / 8] >> (7 - bit % 8) & 1);
    if (++length > kLongestCode) return false;
    const uint32_t place = code - huffman.first[length];
    if (code < huffman.first[length] || place >= huffman.symbols[length].size()) continue;
    if (huffman.symbols[length][place] == kEndOfString) return false;
    text.push_back(static_cast<char>(huffman.symbols[length][place]));
    code = length = 0;
  }
  return true;  // what is left is padding
}

bool read_integer(const uint8_t*& at, const uint8_t* end, int prefix_bits, size_t& value) {
  const size_t most = (1u << prefix_bits) - 1;
  if (at >= end) return false;
  value = *at++ & most;
  if (value < most) return true;
  for (int shift = 0; shift <= 21; shift += 7) {
    if (at >= end) return false;
    const uint8_t byte = *at++;
    value += static_cast<size_t>(byte & 127) << shift;
    if (!(byte & 128)) return true;
  }
  return false;
}

bool read_string(const uint8_t*& at, const uint8_t* end, std::string& text) {
  if (at >= end) return false;
  const bool coded = *at & 128;
  size_t size;
  if (!read_integer(at, end, 7, size) || size > static_cast<size_t>(end - at)) return false;
  const uint8_t* from = at;
  at += size;
  if (coded) return unhuffman(from, size, text);
  text.assign(reinterpret_cast<const char*>(from), size);
  return true;
}

}  // namespace

void put(std::string& block, const std::string& name, const std::string& value) {
  block.push_back(0);
  block.push_back(static_cast<char>(name.size()));
  block += name;
  block.push_back(static_cast<char>(value.size()));
  block += value;
}

bool Decoder::decode(const uint8_t* at, size_t size, std::vector<Field>& fields) {
  const uint8_t* end = at + size;
  while (at < end) {
    const uint8_t first = *at;
    size_t index;
    if (first & 128) {  // indexed
      if (!read_integer(at, end, 7, index)) return false;
      const Field* field = this->at(index);
      if (!field) return false;
      fields.push_back(*field);
    } else if ((first & 0xe0) == 32) {  // the table's size
      if (!read_integer(at, end, 5, limit_bytes_) || limit_bytes_ > 4096) return false;
      evict();
    } else {  // a literal, with or without indexing
      const bool kept = first & 64;
      if (!read_integer(at, end, kept ? 6 : 4, index)) return false;
      Field field;
      if (index) {
        const Field* named = this->at(index);
        if (!named) return false;
        field.first = named->first;
      } else if (!read_string(at, end, field.first)) {
        return false;
      }
      if (!read_string(at, end, field.second)) return false;
      fields.push_back(field);
      if (kept) insert(std::move(field));
    }
  }
  return true;
}

const Field* Decoder::at(size_t index) const {
  if (index == 0 || index > kStaticFields + dynamic_.size()) return nullptr;
  return index <= kStaticFields ? &kStatic[index - 1] : &dynamic_[index - kStaticFields - 1];
}

void Decoder::insert(Field field) {
  dynamic_bytes_ += field.first.size() + field.second.size() + kEntryOverhead;
  dynamic_.push_front(std::move(field));
  evict();
}

void Decoder::evict() {
  while (dynamic_bytes_ > limit_bytes_) {
    dynamic_bytes_ -= dynamic_.back().first.size() + dynamic_.back().second.size() + kEntryOverhead;
    dynamic_.pop_back();
  }
}

}  // namespace hpack
