//! The cases of test_clients.py, in its order, and one more that only h2's adaptive window brings about.

use tonic::Code;

use crate::call::{check, failed, Call, Client, Outcome, Pairs, LIMIT_BYTES};

mod cancels;
mod crowds;
mod metadata;

const CHUNK_BYTES: usize = 64 << 10;
const MESSAGES: usize = 10_000;
/// 8 MiB in all: more than every window and buffer on the way.
const SLOW_CHUNKS: usize = 128;

pub const ADAPTIVE: [&str; 2] = ["bidi_10000", "many_small_frames"];

pub const NAMES: [&str; 22] = [
    "unary",
    "client_stream",
    "server_stream",
    "bidi",
    "message_0B",
    "message_1B",
    "message_4MiB",
    "message_over_limit",
    "bidi_10000",
    "compression",
    "deadline",
    "cancel_before_headers",
    "cancel_after_headers",
    "cancel_mid_stream",
    "cancel_after_half_close",
    "cancel_while_sending",
    "cancel_while_receiving",
    "metadata",
    "status",
    "trailers_only",
    "slow_reader",
    "many_streams",
];

pub async fn run(name: &str, c: &Client) -> Outcome<()> {
    match name {
        "unary" => unary(c).await,
        "client_stream" => client_stream(c).await,
        "server_stream" => server_stream(c).await,
        "bidi" => bidi(c).await,
        "message_0B" => message_of(c, 0).await,
        "message_1B" => message_of(c, 1).await,
        "message_4MiB" => message_of(c, LIMIT_BYTES).await,
        "message_over_limit" => message_over_limit(c).await,
        "bidi_10000" => bidi_10000(c).await,
        "compression" => compression(c).await,
        "deadline" => cancels::deadline(c).await,
        "cancel_before_headers" => cancels::cancel_before_headers(c).await,
        "cancel_after_headers" => cancels::cancelled(c, open(c, "Hold", &vec![]).await?).await,
        "cancel_mid_stream" => cancels::cancel_mid_stream(c).await,
        "cancel_after_half_close" => cancels::cancel_after_half_close(c).await,
        "cancel_while_sending" => cancels::cancel_while_sending(c).await,
        "cancel_while_receiving" => cancels::cancel_while_receiving(c).await,
        "metadata" => metadata::metadata(c).await,
        "status" => metadata::status(c).await,
        "trailers_only" => metadata::trailers_only(c).await,
        "slow_reader" => crowds::slow_reader(c).await,
        "many_streams" => crowds::many_streams(c).await,
        "many_small_frames" => crowds::many_small_frames(c).await,
        _ => Err("there is no such case".into()),
    }
}

fn text(n: usize) -> Vec<u8> {
    n.to_string().into_bytes()
}

/// So many bytes, no two neighbours the same.
fn payload(size: usize) -> Vec<u8> {
    (0..size).map(|place| (place % 251) as u8).collect()
}

fn count(n: usize) -> Pairs {
    vec![("count", text(n))]
}

async fn open(c: &Client, method: &str, pairs: &Pairs) -> Outcome<Call> {
    c.call(method, pairs).open().await.map_err(failed)
}

/// A call that sends one message and is answered with a stream.
async fn repeat(c: &Client, method: &str, pairs: &Pairs, message: Vec<u8>) -> Outcome<Call> {
    let mut call = open(c, method, pairs).await?;
    call.write(message).await?;
    call.half_close();
    Ok(call)
}

async fn unary(c: &Client) -> Outcome<()> {
    let answer = c.unary("Unary", b"one message".to_vec(), &vec![], false).await.map_err(failed)?;
    check(answer == b"one message", answer)
}

async fn client_stream(c: &Client) -> Outcome<()> {
    let mut call = open(c, "ClientStream", &vec![]).await?;
    let mut all = vec![];
    for n in 0..100 {
        call.write(text(n)).await?;
        all.extend(text(n));
    }
    call.half_close();
    call.expect(&all).await?;
    call.expect_end().await
}

async fn server_stream(c: &Client) -> Outcome<()> {
    let mut call = repeat(c, "ServerStream", &count(100), b"again".to_vec()).await?;
    for _ in 0..100 {
        call.expect(b"again").await?;
    }
    call.expect_end().await
}

async fn bidi(c: &Client) -> Outcome<()> {
    let mut call = open(c, "BidiStream", &vec![]).await?;
    for n in 0..100 {
        call.exchange(text(n)).await?;
    }
    call.half_close();
    call.expect_end().await
}

async fn message_of(c: &Client, size: usize) -> Outcome<()> {
    let answer = c.unary("Unary", payload(size), &vec![], false).await.map_err(failed)?;
    check(answer == payload(size), answer.len())
}

async fn message_over_limit(c: &Client) -> Outcome<()> {
    let refused = match c.unary("Unary", payload(LIMIT_BYTES + 1), &vec![], false).await {
        Ok(_) => return Err("it was answered".into()),
        Err(status) => status,
    };
    check(refused.code() == Code::ResourceExhausted, &refused)?;
    check(String::from_utf8_lossy(refused.details()).contains("MESSAGE_TOO_LARGE"), &refused)?;
    unary(c).await
}

async fn bidi_10000(c: &Client) -> Outcome<()> {
    let mut call = open(c, "BidiStream", &vec![]).await?;
    let sender = call.sender();
    call.half_close();
    let sending = tokio::spawn(async move {
        for n in 0..MESSAGES {
            if sender.send(text(n)).await.is_err() {
                return; // the reader is told why
            }
        }
    });
    for n in 0..MESSAGES {
        call.expect(&text(n)).await?;
    }
    call.expect_end().await?;
    sending.await.map_err(failed)
}

async fn compression(c: &Client) -> Outcome<()> {
    let message = b"compressible ".repeat(10_000);
    let pairs = vec![("compress", b"gzip".to_vec())];
    let answer = c.unary("Unary", message.clone(), &pairs, true).await.map_err(failed)?;
    check(answer == message, answer.len())
}
