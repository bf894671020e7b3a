// Puts one load on a port and prints one line of JSON about it. The flags are those of `Plan`; benchmarks/router
// gives them. CPU times of the processes in --pids are taken at the very moments at which the measured interval begins
// and ends.
//
// With the load `idle` it prints {"opened": true} once every stream was answered, and ends when its stdin does.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <sstream>

#include "clock.h"
#include "loads.h"

namespace {

constexpr int64_t kSettleDeadline = 5 * kSecond;
constexpr int64_t kOpenDeadline = 60 * kSecond;

// Our side of one connection.
class Wire : public Source {
 public:
  Wire(Loop& loop, int fd, Handler& handler) : loop_(loop), connection(fd, false, handler) {
    loop.watch(fd, *this);
    write();
  }

  void on_ready(bool readable, bool) override {
    if (connection.lost()) return;
    if (readable) connection.on_readable();
    write();
  }

  void write() {
    connection.flush();
    if (connection.lost()) return;
    const bool wants = connection.unsent_bytes();
    if (wants != watches_writes_) loop_.watch_writes(connection.fd(), *this, wants);
    watches_writes_ = wants;
  }

 private:
  Loop& loop_;
  bool watches_writes_ = false;

 public:
  Connection connection;
};

class Stdin : public Source {
 public:
  void on_ready(bool, bool) override { ended = true; }
  bool ended = false;
};

int dial(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address)) {
    perror("client: cannot connect");
    exit(1);
  }
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

// User and system time of all threads of this process: what /proc/<pid>/stat tells in ticks, to the nanosecond.
double cpu_s(int pid) {
  clockid_t clock;
  timespec used{};
  if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &used)) used = {};
  return static_cast<double>(used.tv_sec) + used.tv_nsec / 1e9;
}

// Of each of these processes; of a negative one with its children, as a server has that forks for each connection.
std::vector<double> cpus_s(const std::vector<int>& pids) {
  std::vector<double> all;
  for (const int pid : pids) {
    const std::string name = std::to_string(abs(pid));
    double used_s = cpu_s(abs(pid));
    std::ifstream children("/proc/" + name + "/task/" + name + "/children");
    for (int child; pid < 0 && children >> child;) used_s += cpu_s(child);
    all.push_back(used_s);
  }
  return all;
}

// What each has taken since.
std::vector<double> cpus_since(const std::vector<int>& pids, const std::vector<double>& before_s) {
  std::vector<double> all = cpus_s(pids);
  for (size_t i = 0; i < all.size(); i++) all[i] -= before_s[i];
  return all;
}

std::string in_brackets(const std::vector<double>& numbers) {
  std::string out;
  for (const double number : numbers) out += (out.empty() ? "" : ", ") + std::to_string(number);
  return "[" + out + "]";
}

std::vector<int> numbers(const std::string& text) {
  std::vector<int> all;
  std::stringstream words(text);
  for (std::string word; std::getline(words, word, ',');) all.push_back(atoi(word.c_str()));
  return all;
}

// A text for JSON.
std::string in_quotes(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) out += c < 32 || c == '"' || c == '\\' ? '?' : c;
  return out + "\"";
}

double percentile_us(std::vector<uint32_t>& sorted_ns, double part) {
  if (sorted_ns.empty()) return 0;
  return sorted_ns[std::min(sorted_ns.size() - 1, static_cast<size_t>(part * sorted_ns.size()))] / 1e3;
}

}  // namespace

int main(int count, char** arguments) {
  Plan plan;
  std::vector<int> pids;
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string name = arguments[i], value = arguments[i + 1];
    if (name == "--load") plan.load = value;
    else if (name == "--port") plan.port = atoi(value.c_str());
    else if (name == "--connections") plan.connections = atoi(value.c_str());
    else if (name == "--streams") plan.streams = atoi(value.c_str());
    else if (name == "--sessions") plan.sessions = atoi(value.c_str());
    else if (name == "--idle") plan.idle = atoi(value.c_str());
    else if (name == "--seconds") plan.seconds = atof(value.c_str());
    else if (name == "--warm-s") plan.warm_s = atof(value.c_str());
    else if (name == "--rate") plan.rate = atof(value.c_str());
    else if (name == "--tokens") plan.tokens = atol(value.c_str());
    else if (name == "--token-rate") plan.token_rate = atol(value.c_str());
    else if (name == "--run") plan.run = value;
    else if (name == "--pids") pids = numbers(value);
    else {
      fprintf(stderr, "client: unknown flag %s\n", name.c_str());
      return 2;
    }
  }
  Loop loop;
  Tally tally;
  const std::unique_ptr<Load> load = make_load(plan, tally, loop);
  if (!load) {
    fprintf(stderr, "client: unknown load %s\n", plan.load.c_str());
    return 2;
  }

  std::vector<std::unique_ptr<Wire>> wires;
  std::vector<Connection*> connections;
  for (int i = 0; i < plan.connections; i++) {
    wires.push_back(std::make_unique<Wire>(loop, dial(plan.port), *load));
    connections.push_back(&wires.back()->connection);
  }
  const auto settled = [](Connection* connection) { return connection->settled(); };
  const int64_t dialled_ns = now_ns();
  while (!tally.failed && !std::all_of(connections.begin(), connections.end(), settled)) {
    if (now_ns() > dialled_ns + kSettleDeadline) tally.fail("no SETTINGS in time");
    loop.turn(20);
  }
  const long streams_each = (plan.streams + plan.idle + plan.connections - 1) / plan.connections;
  for (Connection* connection : connections)
    if (connection->max_streams() < streams_each)
      tally.fail("the peer allows " + std::to_string(connection->max_streams()) + " streams on a connection");

  const int64_t started_ns = now_ns();
  if (!tally.failed) load->start(connections);
  for (auto& wire : wires) wire->write();

  int64_t began_ns = 0, ended_ns = 0;
  std::vector<double> cpus, own_cpu = {0};
  if (plan.load == "idle") {
    while (!tally.failed && tally.answered < plan.streams) {
      if (now_ns() > started_ns + kOpenDeadline) tally.fail("not every stream was answered in time");
      loop.turn(20);
    }
    printf("{\"opened\": %s, \"failed\": %ld, \"first_failure\": %s}\n", tally.failed ? "false" : "true", tally.failed,
           in_quotes(tally.first_failure).c_str());
    fflush(stdout);
    Stdin input;
    loop.watch(STDIN_FILENO, input);
    while (!input.ended && !tally.failed) loop.turn(1000);
  } else {
    const auto run_until = [&](int64_t until_ns) {
      while (!tally.failed && now_ns() < until_ns) loop.turn(20);
    };
    while (!tally.failed && !load->begun()) {
      if (now_ns() > started_ns + kOpenDeadline) tally.fail("not every idle stream was answered in time");
      loop.turn(20);
    }
    run_until(now_ns() + static_cast<int64_t>(plan.warm_s * kSecond));
    tally.measures = true;
    began_ns = now_ns();
    cpus = cpus_s(pids);
    own_cpu = cpus_s({getpid()});
    run_until(began_ns + static_cast<int64_t>(plan.seconds * kSecond));
    cpus = cpus_since(pids, cpus);
    own_cpu = cpus_since({getpid()}, own_cpu);
    ended_ns = now_ns();
    if (!tally.failed && !tally.events) tally.fail("nothing was answered");
  }

  std::vector<uint32_t>& latencies = tally.latencies_ns;
  std::sort(latencies.begin(), latencies.end());
  printf(
      "{\"seconds\": %.6f, \"events\": %ld, \"calls\": %ld, \"failed\": %ld, \"first_failure\": %s, \"cpu_s\": %.6f, "
      "\"cpus_s\": %s, \"client_cpu_s\": %.6f, \"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f}\n",
      static_cast<double>(ended_ns - began_ns) / kSecond, tally.events, tally.calls, tally.failed,
      in_quotes(tally.first_failure).c_str(), std::accumulate(cpus.begin(), cpus.end(), 0.0), in_brackets(cpus).c_str(),
      own_cpu[0], percentile_us(latencies, 0.5), percentile_us(latencies, 0.99), percentile_us(latencies, 0.999));
  return 0;
}
