package main

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	limit         = 4 << 20
	chunkBytes    = 64 << 10
	messages      = 10_000
	streams       = 200
	neighbours    = 20
	roundTrips    = 100
	slowChunks    = 128 // 8 MiB in all: more than every window and buffer on the way
	shortTime     = 3 * time.Second
	shortLatest   = 15 * time.Second
	statusMessage = "größer: 100% of 世界, %41%zz 😀"
)

func text(n int) []byte { return []byte(strconv.Itoa(n)) }

func unary(c *client) {
	answer, err := c.unary("Unary", []byte("one message"), nil)
	must(err)
	check(string(answer) == "one message", answer)
}

func clientStream(c *client) {
	made := c.call(timeout)
	defer made.cancel()
	description := grpc.StreamDesc{ClientStreams: true}
	opened, err := c.connection.NewStream(made.ctx, &description, service+"ClientStream", grpc.ForceCodec(rawCodec{}))
	must(err)
	var all []byte
	for n := range 100 {
		all = append(all, text(n)...)
		stream{opened}.write(text(n))
	}
	must(opened.CloseSend())
	stream{opened}.expect(all)
}

func serverStream(c *client) {
	made := c.call(timeout, "count", "100")
	defer made.cancel()
	opened := c.repeat("ServerStream", made, []byte("again"))
	for range 100 {
		opened.expect([]byte("again"))
	}
	opened.expectEnd()
}

func bidi(c *client) {
	made := c.call(timeout)
	defer made.cancel()
	opened := c.stream("BidiStream", made)
	for n := range 100 {
		opened.exchange(text(n))
	}
	must(opened.CloseSend())
	opened.expectEnd()
}

func messageOf(size int) func(*client) {
	return func(c *client) {
		answer, err := c.unary("Unary", payload(size), nil)
		must(err)
		check(bytes.Equal(answer, payload(size)), len(answer))
	}
}

func messageOverLimit(c *client) {
	var trailers metadata.MD
	_, err := c.unary("Unary", payload(limit+1), nil, grpc.Trailer(&trailers))
	check(status.Code(err) == codes.ResourceExhausted, err)
	check(bytes.Contains([]byte(fmt.Sprint(trailers["grpc-status-details-bin"])), []byte("MESSAGE_TOO_LARGE")), trailers)
	unary(c)
}

func bidi10000(c *client) {
	made := c.call(timeout)
	defer made.cancel()
	opened := c.stream("BidiStream", made)
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := range messages {
			message := text(n)
			if opened.SendMsg(&message) != nil {
				return // the reader is told why
			}
		}
		_ = opened.CloseSend()
	})
	for n := range messages {
		opened.expect(text(n))
	}
	opened.expectEnd()
	writer.Wait()
}

func compression(c *client) {
	message := bytes.Repeat([]byte("compressible "), 10_000)
	answer, err := c.unary("Unary", message, []string{"compress", "gzip"}, grpc.UseCompressor("gzip"))
	must(err)
	check(bytes.Equal(answer, message), len(answer))
}

func deadline(c *client) {
	began := time.Now()
	made := c.call(shortTime)
	defer made.cancel()
	opened := c.stream("Hold", made)
	opened.exchange([]byte("held"))
	opened.expectStatus(codes.DeadlineExceeded)
	took := time.Since(began)
	check(shortTime*9/10 < took && took < shortLatest, took)
	c.checkOutcome(made, "cancelled")
}

func cancelBeforeHeaders(c *client) {
	made := c.call(timeout)
	opened := c.stream("Hold", made)
	made.cancel()
	opened.expectStatus(codes.Canceled)
	c.checkOutcome(made, "unknown", "cancelled")
}

func cancelAfterHeaders(c *client) {
	made := c.call(timeout)
	opened := c.stream("Hold", made)
	_, err := opened.Header()
	must(err)
	cancelled(c, made, opened)
}

func cancelMidStream(c *client) {
	made := c.call(timeout)
	opened := c.stream("Hold", made)
	opened.exchange([]byte("held"))
	opened.exchange([]byte("on"))
	cancelled(c, made, opened)
}

func cancelAfterHalfClose(c *client) {
	made := c.call(timeout)
	opened := c.stream("Hold", made)
	opened.exchange([]byte("held"))
	must(opened.CloseSend())
	opened.expect([]byte("half-closed"))
	cancelled(c, made, opened)
}

func cancelWhileSending(c *client) {
	made := c.call(timeout)
	opened := c.stream("Ignore", made)
	var writer sync.WaitGroup
	writer.Go(func() {
		message := payload(chunkBytes)
		for opened.SendMsg(&message) == nil {
		}
	})
	_, err := opened.Header()
	must(err)
	cancelled(c, made, opened)
	writer.Wait()
}

func cancelWhileReceiving(c *client) {
	made := c.call(timeout, "count", strconv.Itoa(slowChunks))
	opened := c.repeat("ServerStream", made, payload(chunkBytes))
	opened.expect(payload(chunkBytes))
	cancelled(c, made, opened)
}

func cancelled(c *client, made call, opened stream) {
	made.cancel()
	opened.expectStatus(codes.Canceled)
	c.checkOutcome(made, "cancelled")
}

var everyByte = func() string {
	bytes := make([]byte, 256)
	for i := range bytes {
		bytes[i] = byte(i)
	}
	return string(bytes)
}()

var echoed = []string{
	"echo-text", "a value, with ~ all! sorts", "echo-twice", "first", "echo-twice", "second", "echo-bytes-bin", everyByte,
}

func checkEchoed(told metadata.MD) {
	check(slices.Equal(told["echo-text"], []string{"a value, with ~ all! sorts"}), told)
	check(slices.Equal(told["echo-twice"], []string{"first", "second"}), told)
	check(slices.Equal(told["echo-bytes-bin"], []string{everyByte}), told)
}

func echoedMetadata(c *client) {
	made := c.call(timeout, echoed...)
	defer made.cancel()
	opened := c.stream("BidiStream", made)
	opened.exchange([]byte("with metadata"))
	header, err := opened.Header()
	must(err)
	checkEchoed(header)
	check(slices.Equal(header["x-agentring-node"], []string{"hosted"}), header)
	must(opened.CloseSend())
	opened.expectEnd()
	checkEchoed(opened.Trailer())
}

func failing(code codes.Code) []string {
	return append([]string{"fail-code", strconv.Itoa(int(code)), "fail-message-bin", statusMessage}, echoed...)
}

func statusAfterAnswer(c *client) {
	made := c.call(timeout, failing(codes.FailedPrecondition)...)
	defer made.cancel()
	opened := c.repeat("Fail", made, []byte("one answer"))
	opened.expect([]byte("one answer"))
	told := opened.expectStatus(codes.FailedPrecondition)
	check(told.Message() == statusMessage, told.Message())
	checkEchoed(opened.Trailer())
}

func trailersOnly(c *client) {
	made := c.call(timeout, failing(codes.PermissionDenied)...)
	defer made.cancel()
	opened := c.stream("Abort", made)
	told := opened.expectStatus(codes.PermissionDenied)
	check(told.Message() == statusMessage, told.Message())
	checkEchoed(opened.Trailer())
}

func slowReader(c *client) {
	made := c.call(timeout, "count", strconv.Itoa(slowChunks))
	defer made.cancel()
	slow := c.repeat("ServerStream", made, payload(chunkBytes))
	slow.expect(payload(chunkBytes))
	failures := make(chan any, neighbours)
	for range neighbours {
		go func() {
			defer func() { failures <- recover() }()
			made := c.call(timeout)
			defer made.cancel()
			opened := c.stream("BidiStream", made)
			for n := range roundTrips {
				opened.exchange(text(n))
			}
			must(opened.CloseSend())
			opened.expectEnd()
		}()
	}
	for range neighbours {
		failure := <-failures
		check(failure == nil, failure)
	}
	for range slowChunks - 1 {
		slow.expect(payload(chunkBytes))
	}
	slow.expectEnd()
}

func manyStreams(c *client) {
	var opened []stream
	for n := range streams {
		made := c.call(timeout)
		defer made.cancel()
		opened = append(opened, c.stream("BidiStream", made))
		opened[n].exchange(text(n))
	}
	for _, each := range opened {
		must(each.CloseSend())
	}
	for _, each := range opened {
		each.expectEnd()
	}
}
