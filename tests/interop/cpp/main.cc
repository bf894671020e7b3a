// The cases with grpc++. Started with --target host:port --session id, it reads the names of cases from its standard
// input, one a line, and answers each with a line of JSON; the line "?" is answered with the names of its cases.
#include <cstdio>
#include <iostream>

#include "cases.h"

namespace {

std::string quoted(const std::string& text) {
  std::string found = "\"";
  for (unsigned char each : text) {
    if (each == '"' || each == '\\') {
      found += '\\';
      found += static_cast<char>(each);
    } else if (each < 0x20 || each > 0x7e) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", each);
      found += escape;
    } else {
      found += static_cast<char>(each);
    }
  }
  return found + "\"";
}

std::string run(const std::string& name, const std::string& target, const std::string& session) {
  for (const auto& [known, body] : kCases) {
    if (known != name) continue;
    try {
      Client client(target, session);
      body(client);
      return "";
    } catch (const std::exception& error) {
      return std::string("failed: ") + error.what();
    }
  }
  return "there is no such case";
}

}  // namespace

int main(int count, char** arguments) {
  std::string target, session;
  for (int i = 1; i + 1 < count; i += 2) {
    std::string name = arguments[i];
    if (name == "--target") target = arguments[i + 1];
    if (name == "--session") session = arguments[i + 1];
  }
  std::string line;
  while (std::getline(std::cin, line)) {
    std::cout << "{\"case\": " << quoted(line);
    if (line == "?") {
      std::string names;
      for (const auto& [known, body] : kCases) names += (names.empty() ? "" : ", ") + quoted(known);
      std::cout << ", \"cases\": [" << names << "]";
    } else {
      auto failure = run(line, target, session);
      std::cout << ", \"ok\": " << (failure.empty() ? "true" : "false") << ", \"detail\": " << quoted(failure);
    }
    std::cout << "}" << std::endl;
  }
}
