//! The cases of test_clients.py, in its order, and one more that only h2's adaptive window brings about.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tonic::metadata::MetadataMap;
use tonic::Code;

use crate::call::{check, failed, Call, Client, Opening, Outcome, Pairs, LIMIT_BYTES};

const CHUNK_BYTES: usize = 64 << 10;
const MESSAGES: usize = 10_000;
const STREAMS: usize = 200;
const NEIGHBOURS: usize = 20;
const ROUND_TRIPS: usize = 100;
/// 8 MiB in all: more than every window and buffer on the way.
const SLOW_CHUNKS: usize = 128;
const SHORT_TIME: Duration = Duration::from_secs(3);
const SHORT_LATEST: Duration = Duration::from_secs(15);
const STUCK: Duration = Duration::from_secs(1);
const STATUS_MESSAGE: &str = "größer: 100% of 世界, %41%zz 😀";
const SMALL_STREAMS: usize = 500;
const SMALL_ANSWERS: usize = 400;

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
        "deadline" => deadline(c).await,
        "cancel_before_headers" => cancel_before_headers(c).await,
        "cancel_after_headers" => cancelled(c, open(c, "Hold", &vec![]).await?).await,
        "cancel_mid_stream" => cancel_mid_stream(c).await,
        "cancel_after_half_close" => cancel_after_half_close(c).await,
        "cancel_while_sending" => cancel_while_sending(c).await,
        "cancel_while_receiving" => cancel_while_receiving(c).await,
        "metadata" => metadata(c).await,
        "status" => status(c).await,
        "trailers_only" => trailers_only(c).await,
        "slow_reader" => slow_reader(c).await,
        "many_streams" => many_streams(c).await,
        "many_small_frames" => many_small_frames(c).await,
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

async fn deadline(c: &Client) -> Outcome<()> {
    let began = Instant::now();
    let mut call = c.call_within("Hold", &vec![], SHORT_TIME).open().await.map_err(failed)?;
    call.exchange(b"held".to_vec()).await?;
    call.expect_status(Code::DeadlineExceeded).await?;
    let took = began.elapsed();
    check(SHORT_TIME * 9 / 10 < took && took < SHORT_LATEST, took)?;
    c.check_outcome(&call.id, &["cancelled"]).await
}

async fn cancel_before_headers(c: &Client) -> Outcome<()> {
    let opening: Opening = c.call("Hold", &vec![]);
    let id = opening.id.clone();
    let begun = tokio::spawn(opening.open());
    tokio::task::yield_now().await;
    begun.abort();
    match begun.await {
        Err(error) if error.is_cancelled() => {}
        // It was faster than its cancellation: what it has opened is dropped here.
        _ => {}
    }
    c.check_outcome(&id, &["unknown", "cancelled"]).await
}

async fn cancel_mid_stream(c: &Client) -> Outcome<()> {
    let mut call = open(c, "Hold", &vec![]).await?;
    call.exchange(b"held".to_vec()).await?;
    call.exchange(b"on".to_vec()).await?;
    cancelled(c, call).await
}

async fn cancel_after_half_close(c: &Client) -> Outcome<()> {
    let mut call = open(c, "Hold", &vec![]).await?;
    call.exchange(b"held".to_vec()).await?;
    call.half_close();
    call.expect(b"half-closed").await?;
    cancelled(c, call).await
}

/// By its deadline: hyper resets no stream whose request it has not been able to send, whoever drops it.
async fn cancel_while_sending(c: &Client) -> Outcome<()> {
    let mut call = c.call_within("Ignore", &vec![], SHORT_TIME).open().await.map_err(failed)?;
    while let Ok(sent) = timeout(STUCK, call.write(payload(CHUNK_BYTES))).await {
        sent?;
    }
    call.expect_status(Code::DeadlineExceeded).await?;
    c.check_outcome(&call.id, &["cancelled"]).await
}

async fn cancel_while_receiving(c: &Client) -> Outcome<()> {
    let mut call = repeat(c, "ServerStream", &count(SLOW_CHUNKS), payload(CHUNK_BYTES)).await?;
    call.expect(&payload(CHUNK_BYTES)).await?;
    cancelled(c, call).await
}

/// Here a call is cancelled by dropping it.
async fn cancelled(c: &Client, call: Call) -> Outcome<()> {
    let id = call.id.clone();
    drop(call);
    c.check_outcome(&id, &["cancelled"]).await
}

fn every_byte() -> Vec<u8> {
    (0..=255).collect()
}

fn echoed() -> Pairs {
    vec![
        ("echo-text", b"a value, with ~ all! sorts".to_vec()),
        ("echo-twice", b"first".to_vec()),
        ("echo-twice", b"second".to_vec()),
        ("echo-bytes-bin", every_byte()),
    ]
}

fn check_echoed(told: &MetadataMap) -> Outcome<()> {
    let texts = |name| told.get_all(name).iter().map(|value| value.to_str().unwrap_or("?").to_string()).collect::<Vec<_>>();
    check(texts("echo-text") == ["a value, with ~ all! sorts"], told)?;
    check(texts("echo-twice") == ["first", "second"], told)?;
    let bytes = told.get_all_bin("echo-bytes-bin").iter().map(|value| value.to_bytes()).collect::<Vec<_>>();
    check(bytes.len() == 1 && bytes[0].as_ref().is_ok_and(|value| value[..] == every_byte()[..]), told)
}

async fn metadata(c: &Client) -> Outcome<()> {
    let mut call = open(c, "BidiStream", &echoed()).await?;
    call.exchange(b"with metadata".to_vec()).await?;
    check_echoed(&call.headers)?;
    check(call.headers.get("x-agentring-node").is_some_and(|name| name == "hosted"), &call.headers)?;
    call.half_close();
    call.expect_end().await?;
    check_echoed(&call.trailers().await?)
}

fn failing(code: Code) -> Pairs {
    let mut pairs = echoed();
    pairs.push(("fail-code", text(code as usize)));
    pairs.push(("fail-message-bin", STATUS_MESSAGE.as_bytes().to_vec()));
    pairs
}

async fn status(c: &Client) -> Outcome<()> {
    let mut call = repeat(c, "Fail", &failing(Code::FailedPrecondition), b"one answer".to_vec()).await?;
    call.expect(b"one answer").await?;
    let told = call.expect_status(Code::FailedPrecondition).await?;
    check(told.message() == STATUS_MESSAGE, &told)?;
    check_echoed(told.metadata())
}

async fn trailers_only(c: &Client) -> Outcome<()> {
    let told = match c.call("Abort", &failing(Code::PermissionDenied)).open().await {
        Ok(_) => return Err("it was accepted".into()),
        Err(status) => status,
    };
    check(told.code() == Code::PermissionDenied && told.message() == STATUS_MESSAGE, &told)?;
    check_echoed(told.metadata())
}

async fn slow_reader(c: &Client) -> Outcome<()> {
    let mut slow = repeat(c, "ServerStream", &count(SLOW_CHUNKS), payload(CHUNK_BYTES)).await?;
    slow.expect(&payload(CHUNK_BYTES)).await?;
    let neighbours: Vec<_> = (0..NEIGHBOURS)
        .map(|_| {
            let c = c.clone();
            tokio::spawn(async move {
                let mut call = open(&c, "BidiStream", &vec![]).await?;
                for n in 0..ROUND_TRIPS {
                    call.exchange(text(n)).await?;
                }
                call.half_close();
                call.expect_end().await
            })
        })
        .collect();
    for neighbour in neighbours {
        neighbour.await.map_err(failed)??;
    }
    for _ in 1..SLOW_CHUNKS {
        slow.expect(&payload(CHUNK_BYTES)).await?;
    }
    slow.expect_end().await
}

async fn many_streams(c: &Client) -> Outcome<()> {
    let mut calls = vec![];
    for n in 0..STREAMS {
        let mut call = open(c, "BidiStream", &vec![]).await?;
        call.exchange(text(n)).await?;
        calls.push(call);
    }
    for call in &mut calls {
        call.half_close();
    }
    for call in &mut calls {
        call.expect_end().await?;
    }
    Ok(())
}

/// Streams of many small answers at once: h2 ends a connection on which a stream's frames are many and carry little.
async fn many_small_frames(c: &Client) -> Outcome<()> {
    let streams: Vec<_> = (0..SMALL_STREAMS)
        .map(|_| {
            let c = c.clone();
            tokio::spawn(async move {
                let mut call = repeat(&c, "ServerStream", &count(SMALL_ANSWERS), b"small".to_vec()).await?;
                for _ in 0..SMALL_ANSWERS {
                    call.expect(b"small").await?;
                }
                call.expect_end().await
            })
        })
        .collect();
    for stream in streams {
        stream.await.map_err(failed)??;
    }
    Ok(())
}
