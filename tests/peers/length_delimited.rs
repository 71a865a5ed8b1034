// SPDX-License-Identifier: MIT

//! A peer with tokio-util's LengthDelimitedCodec. What it is asked for is in
//! test_other_languages.py.

use std::{env, io};

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_util::codec::{Decoder, Encoder, Framed, FramedRead, FramedWrite, LengthDelimitedCodec};

const MAX_MESSAGE: usize = 16 << 20;

type Messages = Framed<TcpStream, LengthDelimitedCodec>;

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .max_frame_length(MAX_MESSAGE)
        .new_codec()
}

fn framed(stream: TcpStream) -> io::Result<Messages> {
    stream.set_nodelay(true)?;
    Ok(Framed::new(stream, codec()))
}

async fn dial(port: &str) -> io::Result<Messages> {
    framed(TcpStream::connect(format!("127.0.0.1:{port}")).await?)
}

async fn echo(stream: TcpStream) -> io::Result<()> {
    let mut peer = framed(stream)?;
    while let Some(message) = peer.next().await.transpose()? {
        match &message[..] {
            b"leave" => break,
            b"cut" => return cut(peer).await,
            _ => peer.send(message.freeze()).await?,
        }
    }
    SinkExt::<Bytes>::close(&mut peer).await
}

async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(echo(stream));
    }
}

async fn talk(peer: Messages, words: &[String]) -> io::Result<()> {
    let messages = messages_of(words);
    let to_send = messages.clone();
    let (read_half, write_half) = peer.into_inner().into_split();
    let mut answers = FramedRead::new(read_half, codec());
    let mut sink = FramedWrite::new(write_half, codec());
    let sending = tokio::spawn(async move {
        for message in to_send {
            sink.send(message).await?;
        }
        SinkExt::<Bytes>::close(&mut sink).await // flushes, and half-closes
    });
    for (number, message) in messages.iter().enumerate() {
        let answer = answers.next().await.expect("an answer")?;
        assert!(answer == message, "answer {number} is another");
    }
    assert!(answers.next().await.is_none()); // an end inside a message would be Some(Err(…))
    sending.await??;
    let sum: usize = messages.iter().map(Bytes::len).sum();
    println!("{} messages, {sum} bytes", messages.len());
    Ok(())
}

async fn leave(mut peer: Messages) -> io::Result<()> {
    peer.send(Bytes::from("hello")).await?;
    let answer = peer.next().await.expect("an answer")?;
    assert_eq!(&answer[..], b"hello");
    Ok(())
}

async fn cut(peer: Messages) -> io::Result<()> {
    let mut stream = peer.into_inner();
    stream.write_all(b"\0\0\0\x640123456789").await
}

fn messages_of(words: &[String]) -> Vec<Bytes> {
    let mut messages = Vec::new();
    for word in words {
        let (count, length) = word.split_once('x').expect("COUNTxLENGTH");
        let length: usize = length.parse().expect("a length");
        for _ in 0..count.parse().expect("a count") {
            let first = messages.len();
            let message = (first..first + length).map(|at| (at % 251) as u8);
            messages.push(message.collect());
        }
    }
    messages
}

fn from_hex(text: &str) -> BytesMut {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The messages of a stream, and what they make when they are written again.
fn reframe(line: &str) -> io::Result<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let width: usize = words[0].parse().expect("a width");
    let mut builder = LengthDelimitedCodec::builder();
    builder
        .length_field_length(width)
        .max_frame_length(MAX_MESSAGE);
    if words[1] == "little" {
        builder.little_endian();
    }
    if words[2] == "counting" {
        builder.length_adjustment(-(width as isize));
    }
    let mut codec = builder.new_codec();
    let (mut input, mut output) = (from_hex(words[3]), BytesMut::new());
    let mut messages = Vec::new();
    while let Some(message) = codec.decode(&mut input)? {
        messages.push(to_hex(&message));
        codec.encode(message.freeze(), &mut output)?;
    }
    let joined = messages.join(",");
    Ok(format!("{} {joined} {}", messages.len(), to_hex(&output)))
}

async fn run(arguments: &[String]) -> io::Result<()> {
    match arguments[0].as_str() {
        "serve" => serve().await,
        "talk" => talk(dial(&arguments[1]).await?, &arguments[2..]).await,
        "leave" => leave(dial(&arguments[1]).await?).await,
        "cut" => cut(dial(&arguments[1]).await?).await,
        "reframe" => {
            for line in io::stdin().lines() {
                println!("{}", reframe(&line?)?);
            }
            Ok(())
        }
        word => panic!("{word}?"),
    }
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let runtime = Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(run(&arguments))
}
