// SPDX-License-Identifier: MIT

//! The same messages with tokio and tokio-util: a task for each connection, whose answers leave
//! together when no whole message is there any more, or when 8 KiB of them wait.

use std::{env, io, process};

use futures_util::{StreamExt, TryStreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_util::codec::LengthDelimitedCodec;

const MAX_MESSAGE: usize = 16 << 20;

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut codec = LengthDelimitedCodec::builder();
    codec.max_frame_length(MAX_MESSAGE);
    let (read_half, write_half) = stream.split();
    let messages = codec.new_read(read_half).map_ok(|message| message.freeze());
    messages.forward(codec.new_write(write_half)).await
}

async fn listen(address: String) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream));
    }
}

/// How many threads, and the address.
fn read_arguments() -> Option<(usize, String)> {
    let mut arguments = env::args().skip(1).peekable();
    let mut threads = 1;
    if arguments.next_if_eq("--threads").is_some() {
        threads = arguments
            .next()?
            .parse()
            .ok()
            .filter(|&number| number > 0)?;
    }
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".into());
    arguments.next().is_none().then(|| (threads, address))
}

fn main() -> io::Result<()> {
    let (threads, address) = read_arguments().unwrap_or_else(|| {
        eprintln!("usage: echo_tokio [--threads N] [ADDRESS]");
        process::exit(2)
    });
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(threads).enable_io().build()?;
    // A task, because what block_on is given runs on this thread, which is no worker.
    runtime.block_on(async { tokio::spawn(listen(address)).await })?
}
