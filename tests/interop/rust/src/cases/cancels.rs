//! Calls that end early: by their deadline, or by a client that drops them.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tonic::Code;

use super::{count, open, payload, repeat, CHUNK_BYTES, SLOW_CHUNKS};
use crate::call::{check, failed, Call, Client, Opening, Outcome};

const SHORT_TIME: Duration = Duration::from_secs(3);
const SHORT_LATEST: Duration = Duration::from_secs(15);
const STUCK: Duration = Duration::from_secs(1);

pub async fn deadline(c: &Client) -> Outcome<()> {
    let began = Instant::now();
    let mut call = c.call_within("Hold", &vec![], SHORT_TIME).open().await.map_err(failed)?;
    call.exchange(b"held".to_vec()).await?;
    call.expect_status(Code::DeadlineExceeded).await?;
    let took = began.elapsed();
    check(SHORT_TIME * 9 / 10 < took && took < SHORT_LATEST, took)?;
    c.check_outcome(&call.id, &["cancelled"]).await
}

pub async fn cancel_before_headers(c: &Client) -> Outcome<()> {
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

pub async fn cancel_mid_stream(c: &Client) -> Outcome<()> {
    let mut call = open(c, "Hold", &vec![]).await?;
    call.exchange(b"held".to_vec()).await?;
    call.exchange(b"on".to_vec()).await?;
    cancelled(c, call).await
}

pub async fn cancel_after_half_close(c: &Client) -> Outcome<()> {
    let mut call = open(c, "Hold", &vec![]).await?;
    call.exchange(b"held".to_vec()).await?;
    call.half_close();
    call.expect(b"half-closed").await?;
    cancelled(c, call).await
}

/// By its deadline: hyper resets no stream whose request it has not been able to send, whoever drops it.
pub async fn cancel_while_sending(c: &Client) -> Outcome<()> {
    let mut call = c.call_within("Ignore", &vec![], SHORT_TIME).open().await.map_err(failed)?;
    while let Ok(sent) = timeout(STUCK, call.write(payload(CHUNK_BYTES))).await {
        sent?;
    }
    call.expect_status(Code::DeadlineExceeded).await?;
    c.check_outcome(&call.id, &["cancelled"]).await
}

pub async fn cancel_while_receiving(c: &Client) -> Outcome<()> {
    let mut call = repeat(c, "ServerStream", &count(SLOW_CHUNKS), payload(CHUNK_BYTES)).await?;
    call.expect(&payload(CHUNK_BYTES)).await?;
    cancelled(c, call).await
}

/// Here a call is cancelled by dropping it.
pub async fn cancelled(c: &Client, call: Call) -> Outcome<()> {
    let id = call.id.clone();
    drop(call);
    c.check_outcome(&id, &["cancelled"]).await
}
