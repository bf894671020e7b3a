// HPACK (RFC 7541). Written are literals without indexing alone; read is everything: a proxy may use the dynamic table
// and Huffman codes as it does with any client.
#pragma once
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

namespace hpack {

using Field = std::pair<std::string, std::string>;

// Appends a field as a literal, its name too. Neither may be longer than 126 bytes.
void put(std::string& block, const std::string& name, const std::string& value);

// Reads the header blocks of one connection, in their order.
class Decoder {
 public:
  // False: the block is not HPACK, and the connection is lost.
  bool decode(const uint8_t* block, size_t size, std::vector<Field>& fields);

 private:
  const Field* at(size_t index) const;
  void insert(Field field);
  void evict();

  std::deque<Field> dynamic_;
  size_t dynamic_bytes_ = 0;
  size_t limit_bytes_ = 4096;
};

}  // namespace hpack
