// The cases of test_clients.py, in its order.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "call.h"

extern const std::vector<std::pair<std::string, void (*)(Client&)>> kCases;
