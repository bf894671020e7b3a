package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	service = "/interop.v1.EchoService/"
	timeout = 40 * time.Second
)

// rawCodec leaves messages the bytes that they are.
type rawCodec struct{}

func (rawCodec) Name() string                        { return "proto" }
func (rawCodec) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte{}, data...)
	return nil
}

// client is a connection, and the session that its calls are about.
type client struct {
	connection *grpc.ClientConn
	session    string
}

// call is one call's context, and the id under which the backend knows it.
type call struct {
	id     string
	ctx    context.Context
	cancel context.CancelFunc
}

func (c *client) call(within time.Duration, pairs ...string) call {
	id := rand.Text()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	pairs = append(pairs, "x-session-id", c.session, "call-id", id)
	return call{id, metadata.AppendToOutgoingContext(ctx, pairs...), cancel}
}

func (c *client) unary(method string, message []byte, pairs []string, options ...grpc.CallOption) ([]byte, error) {
	made := c.call(timeout, pairs...)
	defer made.cancel()
	var answer []byte
	options = append(options, grpc.ForceCodec(rawCodec{}), grpc.MaxCallRecvMsgSize(2*limit))
	err := c.connection.Invoke(made.ctx, service+method, &message, &answer, options...)
	return answer, err
}

// stream is a call with a stream each way; the other kinds are the same on the wire.
type stream struct {
	grpc.ClientStream
}

func (c *client) stream(method string, made call) stream {
	description := grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	opened, err := c.connection.NewStream(made.ctx, &description, service+method, grpc.ForceCodec(rawCodec{}))
	must(err)
	return stream{opened}
}

// repeat is a call that sends one message and is answered with a stream.
func (c *client) repeat(method string, made call, message []byte) stream {
	description := grpc.StreamDesc{ServerStreams: true}
	opened, err := c.connection.NewStream(made.ctx, &description, service+method, grpc.ForceCodec(rawCodec{}))
	must(err)
	must(opened.SendMsg(&message))
	must(opened.CloseSend())
	return stream{opened}
}

func (s stream) write(message []byte) { must(s.SendMsg(&message)) }

func (s stream) read() ([]byte, error) {
	var answer []byte
	err := s.RecvMsg(&answer)
	return answer, err
}

// expect reads an answer that must be this.
func (s stream) expect(message []byte) {
	answer, err := s.read()
	must(err)
	check(string(answer) == string(message), len(answer), "bytes instead of", len(message))
}

// exchange sends a message and reads its echo.
func (s stream) exchange(message []byte) {
	s.write(message)
	s.expect(message)
}

// expectEnd reads the end of a call that ends with OK.
func (s stream) expectEnd() {
	_, err := s.read()
	check(err == io.EOF, err)
}

// expectStatus reads on until the call's end, which must be this.
func (s stream) expectStatus(code codes.Code) *status.Status {
	for {
		if _, err := s.read(); err != nil {
			told := status.Convert(err)
			check(err != io.EOF && told.Code() == code, err)
			return told
		}
	}
}

func (c *client) checkOutcome(of call, expected ...string) {
	answer, err := c.unary("Outcome", []byte(of.id), nil)
	must(err)
	for _, each := range expected {
		if each == string(answer) {
			return
		}
	}
	panic("the outcome is " + string(answer))
}

// payload is so many bytes, no two neighbours the same.
func payload(size int) []byte {
	bytes := make([]byte, size)
	for i := range bytes {
		bytes[i] = byte(i % 251)
	}
	return bytes
}

func check(holds bool, told ...any) {
	if !holds {
		panic(fmt.Sprintln(told...))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
