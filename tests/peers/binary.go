// SPDX-License-Identifier: MIT

// A peer in Go: net, io and encoding/binary. What it is asked for is in test_other_languages.py.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"runtime"
	"strings"
)

const limit = 16 << 20

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func send(w io.Writer, message []byte) error {
	frame := make([]byte, 4, 4+len(message))
	binary.BigEndian.PutUint32(frame, uint32(len(message)))
	_, err := w.Write(append(frame, message...))
	return err
}

// receive returns io.EOF at a clean end, io.ErrUnexpectedEOF at an end inside a message.
func receive(r io.Reader) ([]byte, error) {
	var length uint32
	if err := binary.Read(r, binary.BigEndian, &length); err != nil {
		return nil, err
	}
	if length > limit {
		return nil, fmt.Errorf("a message of %d bytes, the limit is %d", length, limit)
	}
	message := make([]byte, length)
	if _, err := io.ReadFull(r, message); err == io.EOF {
		return nil, io.ErrUnexpectedEOF
	} else if err != nil {
		return nil, err
	}
	return message, nil
}

func dial(port string) *net.TCPConn {
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	check(err)
	return conn.(*net.TCPConn)
}

func serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println("listening on", listener.Addr())
	for {
		conn, err := listener.Accept()
		check(err)
		go echo(conn)
	}
}

func echo(conn net.Conn) {
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for {
		message, err := receive(reader)
		switch {
		case err == io.EOF || string(message) == "leave":
			return
		case string(message) == "cut":
			cut(conn)
			return
		case err == nil:
			err = send(conn, message)
		}
		if err != nil {
			log.Print(err)
			return
		}
	}
}

func talk(conn *net.TCPConn, messages [][]byte) {
	defer conn.Close()
	go func() {
		for _, message := range messages {
			check(send(conn, message))
		}
		check(conn.CloseWrite())
	}()
	reader, sum := bufio.NewReader(conn), 0
	for number, message := range messages {
		answer, err := receive(reader)
		check(err)
		if !bytes.Equal(answer, message) {
			log.Fatalf("answer %d is another", number)
		}
		sum += len(answer)
	}
	if _, err := receive(reader); err != io.EOF {
		log.Fatal("not a clean end: ", err)
	}
	fmt.Printf("%d messages, %d bytes\n", len(messages), sum)
}

func leave(conn net.Conn) {
	check(send(conn, []byte("hello")))
	answer, err := receive(conn)
	check(err)
	if string(answer) != "hello" {
		log.Fatalf("the answer is %q", answer)
	}
	check(conn.Close())
}

func cut(conn net.Conn) {
	_, err := conn.Write([]byte("\x00\x00\x00\x640123456789"))
	check(err)
	check(conn.Close())
}

func messagesOf(words []string) (messages [][]byte) {
	for _, word := range words {
		var count, length int
		_, err := fmt.Sscanf(word, "%dx%d", &count, &length)
		check(err)
		for ; count > 0; count-- {
			message := make([]byte, length)
			for i := range message {
				message[i] = byte((len(messages) + i) % 251)
			}
			messages = append(messages, message)
		}
	}
	return messages
}

func main() {
	switch os.Args[1] {
	case "serve":
		serve()
	case "talk":
		talk(dial(os.Args[2]), messagesOf(os.Args[3:]))
	case "leave":
		leave(dial(os.Args[2]))
	case "cut":
		cut(dial(os.Args[2]))
	case "version":
		fmt.Println("Go", strings.TrimPrefix(runtime.Version(), "go"))
	}
}
