// SPDX-License-Identifier: MIT

// The same messages with Go's net: one goroutine a connection, bufio both ways, and answers that
// leave when no whole message is buffered any more.
package main

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"runtime"
)

const (
	prefix     = 4
	maxMessage = 16 << 20
	firstPart  = 64 << 10
)

// Reads what follows the prefix. Memory grows with what has come, not with what was announced.
func readPayload(from io.Reader, frame []byte, size int) ([]byte, error) {
	for have := prefix; have < size; {
		if len(frame) == have {
			next := 2 * have
			if next < firstPart {
				next = firstPart
			}
			if next > size {
				next = size
			}
			frame = append(make([]byte, 0, next), frame...)[:next]
		}
		upTo := len(frame)
		if upTo > size {
			upTo = size
		}
		if _, err := io.ReadFull(from, frame[have:upTo]); err != nil {
			return frame, err
		}
		have = upTo
	}
	return frame, nil
}

// Whether the next message can be read without waiting.
func nextIsHere(in *bufio.Reader) bool {
	if in.Buffered() < prefix {
		return false
	}
	head, err := in.Peek(prefix)
	return err == nil && uint64(in.Buffered()) >= prefix+uint64(binary.BigEndian.Uint32(head))
}

func serve(conn net.Conn, bufferSize int) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, bufferSize)
	out := bufio.NewWriterSize(conn, bufferSize)
	frame := make([]byte, prefix, 512)[:512]
	for {
		if _, err := io.ReadFull(in, frame[:prefix]); err != nil {
			return
		}
		length := binary.BigEndian.Uint32(frame)
		if length > maxMessage {
			return
		}
		size := prefix + int(length)
		var err error
		if frame, err = readPayload(in, frame, size); err != nil {
			return
		}
		if _, err = out.Write(frame[:size]); err != nil {
			return
		}
		if !nextIsHere(in) {
			if out.Flush() != nil {
				return
			}
		}
	}
}

func main() {
	threads := flag.Int("threads", 1, "GOMAXPROCS")
	bufferSize := flag.Int("buffer-size", 4096, "bytes in each of bufio's two buffers")
	flag.Parse()
	runtime.GOMAXPROCS(*threads)
	address := flag.Arg(0)
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", listener.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(conn, *bufferSize)
	}
}
