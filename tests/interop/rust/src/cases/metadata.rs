//! Metadata there and back, and what a status says.

use tonic::metadata::MetadataMap;
use tonic::Code;

use super::{open, repeat, text};
use crate::call::{check, Client, Outcome, Pairs};

const STATUS_MESSAGE: &str = "größer: 100% of 世界, %41%zz 😀";

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

pub async fn metadata(c: &Client) -> Outcome<()> {
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

pub async fn status(c: &Client) -> Outcome<()> {
    let mut call = repeat(c, "Fail", &failing(Code::FailedPrecondition), b"one answer".to_vec()).await?;
    call.expect(b"one answer").await?;
    let told = call.expect_status(Code::FailedPrecondition).await?;
    check(told.message() == STATUS_MESSAGE, &told)?;
    check_echoed(told.metadata())
}

pub async fn trailers_only(c: &Client) -> Outcome<()> {
    let told = match c.call("Abort", &failing(Code::PermissionDenied)).open().await {
        Ok(_) => return Err("it was accepted".into()),
        Err(status) => status,
    };
    check(told.code() == Code::PermissionDenied && told.message() == STATUS_MESSAGE, &told)?;
    check_echoed(told.metadata())
}
