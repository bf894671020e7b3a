//! Many calls on one connection, and one that is read slowly beside others.

use super::{count, open, payload, repeat, text, CHUNK_BYTES, SLOW_CHUNKS};
use crate::call::{failed, Client, Outcome};

const STREAMS: usize = 200;
const NEIGHBOURS: usize = 20;
const ROUND_TRIPS: usize = 100;
const SMALL_STREAMS: usize = 500;
const SMALL_ANSWERS: usize = 400;

pub async fn slow_reader(c: &Client) -> Outcome<()> {
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

pub async fn many_streams(c: &Client) -> Outcome<()> {
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
pub async fn many_small_frames(c: &Client) -> Outcome<()> {
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
