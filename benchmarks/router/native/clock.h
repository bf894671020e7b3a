// The one clock of the load: nanoseconds of CLOCK_MONOTONIC.
#pragma once
#include <time.h>

#include <cstdint>

constexpr int64_t kSecond = 1'000'000'000;

inline int64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kSecond + now.tv_nsec;
}
