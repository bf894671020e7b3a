// The cases with grpc-go. Started with --target host:port --session id, it reads the names of cases from its standard
// input, one a line, and answers each with a line of JSON; the line "?" is answered with the names of its cases.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

type testCase struct {
	name string
	run  func(*client)
}

var cases = []testCase{
	{"unary", unary},
	{"client_stream", clientStream},
	{"server_stream", serverStream},
	{"bidi", bidi},
	{"message_0B", messageOf(0)},
	{"message_1B", messageOf(1)},
	{"message_4MiB", messageOf(limit)},
	{"message_over_limit", messageOverLimit},
	{"bidi_10000", bidi10000},
	{"compression", compression},
	{"deadline", deadline},
	{"cancel_before_headers", cancelBeforeHeaders},
	{"cancel_after_headers", cancelAfterHeaders},
	{"cancel_mid_stream", cancelMidStream},
	{"cancel_after_half_close", cancelAfterHalfClose},
	{"cancel_while_sending", cancelWhileSending},
	{"cancel_while_receiving", cancelWhileReceiving},
	{"metadata", echoedMetadata},
	{"status", statusAfterAnswer},
	{"trailers_only", trailersOnly},
	{"slow_reader", slowReader},
	{"many_streams", manyStreams},
}

func main() {
	target := flag.String("target", "", "host:port")
	session := flag.String("session", "", "the session that the calls are about")
	flag.Parse()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		told := map[string]any{"case": lines.Text()}
		if lines.Text() == "?" {
			names := []string{}
			for _, each := range cases {
				names = append(names, each.name)
			}
			told["cases"] = names
		}
		for _, each := range cases {
			if each.name == lines.Text() {
				failure := runCase(each.run, *target, *session)
				told["ok"], told["detail"] = failure == "", failure
			}
		}
		line, _ := json.Marshal(told)
		fmt.Println(string(line))
	}
}

// What went wrong, on a connection of the case's own; empty: nothing.
func runCase(run func(*client), target, session string) (failure string) {
	defer func() {
		if thrown := recover(); thrown != nil {
			failure = fmt.Sprint(thrown)
		}
	}()
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	defer connection.Close()
	run(&client{connection, session})
	return ""
}
