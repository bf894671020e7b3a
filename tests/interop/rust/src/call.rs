//! Calls whose messages are bytes, over a connection of a case's own.

use std::time::Duration;

use bytes::{Buf, BufMut};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, Binary, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

pub const LIMIT_BYTES: usize = 4 << 20;
pub const TIMEOUT: Duration = Duration::from_secs(40);

/// Why a case failed.
pub type Failure = String;
pub type Outcome<T> = Result<T, Failure>;

pub fn check(holds: bool, told: impl std::fmt::Debug) -> Outcome<()> {
    if holds { Ok(()) } else { Err(format!("{told:?}")) }
}

pub fn failed(error: impl std::fmt::Debug) -> Failure {
    format!("{error:?}")
}

/// Leaves messages the bytes that they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; from.remaining()];
        from.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}

pub type Pairs = Vec<(&'static str, Vec<u8>)>;

/// A connection, and the session that its calls are about.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    session: String,
}

impl Client {
    /// adaptive: the windows begin small and grow with what comes, and h2 allows few small frames. (One stream that is
    /// not read then shuts the connection's window for all, so cases with such a stream cannot have it.)
    pub async fn connect(target: &str, session: &str, adaptive: bool) -> Outcome<Client> {
        let endpoint = Endpoint::from_shared(format!("http://{target}")).map_err(failed)?;
        let channel = endpoint.http2_adaptive_window(adaptive).connect().await.map_err(failed)?;
        Ok(Client { channel, session: session.to_string() })
    }

    /// Begins a call with a stream each way; the other kinds are the same on the wire.
    pub fn call(&self, method: &str, pairs: &Pairs) -> Opening {
        self.call_within(method, pairs, TIMEOUT)
    }

    pub fn call_within(&self, method: &str, pairs: &Pairs, within: Duration) -> Opening {
        let (messages, queue) = mpsc::channel(1);
        let id = uuid::Uuid::new_v4().to_string();
        let mut request = Request::new(ReceiverStream::new(queue));
        request.set_timeout(within);
        let metadata = request.metadata_mut();
        add(metadata, "x-session-id", self.session.as_bytes());
        add(metadata, "call-id", id.as_bytes());
        for (name, value) in pairs {
            add(metadata, name, value);
        }
        let path = PathAndQuery::try_from(format!("/interop.v1.EchoService/{method}")).expect("a path");
        Opening { grpc: self.grpc(), path, request, messages, id }
    }

    fn grpc(&self) -> Grpc<Channel> {
        Grpc::new(self.channel.clone()).max_decoding_message_size(2 * LIMIT_BYTES)
    }

    /// What the only answer to one message is.
    pub async fn unary(&self, method: &str, message: Vec<u8>, pairs: &Pairs, gzip: bool) -> Result<Vec<u8>, Status> {
        let mut opening = self.call(method, pairs);
        if gzip {
            opening.grpc = opening
                .grpc
                .send_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Gzip);
        }
        let messages = opening.messages.clone();
        let sending = tokio::spawn(async move { messages.send(message).await });
        let mut call = opening.open().await?;
        let _ = sending.await;
        call.half_close();
        let answer = call.read().await?.ok_or_else(|| Status::internal("there is no answer"))?;
        match call.read().await? {
            None => Ok(answer),
            Some(_) => Err(Status::internal("there are two answers")),
        }
    }

    /// The backend must have seen the call end in one of these ways.
    pub async fn check_outcome(&self, id: &str, expected: &[&str]) -> Outcome<()> {
        let outcome = self.unary("Outcome", id.into(), &vec![], false).await.map_err(failed)?;
        let outcome = String::from_utf8(outcome).map_err(failed)?;
        check(expected.contains(&outcome.as_str()), outcome)
    }
}

/// A call that has not been sent. Dropping it, or what it becomes, cancels the call.
pub struct Opening {
    grpc: Grpc<Channel>,
    path: PathAndQuery,
    request: Request<ReceiverStream<Vec<u8>>>,
    pub messages: mpsc::Sender<Vec<u8>>,
    pub id: String,
}

impl Opening {
    /// Sends it, and waits for the headers.
    pub async fn open(mut self) -> Result<Call, Status> {
        self.grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let response = self.grpc.streaming(self.request, self.path, Raw).await?;
        let (headers, answers, _) = response.into_parts();
        Ok(Call { id: self.id, messages: Some(self.messages), answers, headers })
    }
}

/// An open call.
pub struct Call {
    pub id: String,
    messages: Option<mpsc::Sender<Vec<u8>>>,
    answers: Streaming<Vec<u8>>,
    pub headers: MetadataMap,
}

impl Call {
    pub fn sender(&self) -> mpsc::Sender<Vec<u8>> {
        self.messages.clone().expect("the client's side is open")
    }

    pub async fn write(&self, message: Vec<u8>) -> Outcome<()> {
        self.sender().send(message).await.map_err(failed)
    }

    pub fn half_close(&mut self) {
        self.messages = None;
    }

    pub async fn read(&mut self) -> Result<Option<Vec<u8>>, Status> {
        self.answers.message().await
    }

    /// Reads an answer that must be this.
    pub async fn expect(&mut self, message: &[u8]) -> Outcome<()> {
        let answer = self.read().await.map_err(failed)?.ok_or("the call has ended before its answer")?;
        check(answer == message, format!("{} bytes instead of {}", answer.len(), message.len()))
    }

    /// Sends a message and reads its echo.
    pub async fn exchange(&mut self, message: Vec<u8>) -> Outcome<()> {
        self.write(message.clone()).await?;
        self.expect(&message).await
    }

    /// Reads the end of a call that ends with OK.
    pub async fn expect_end(&mut self) -> Outcome<()> {
        let answer = self.read().await.map_err(failed)?;
        check(answer.is_none(), "an answer too many")
    }

    /// Reads on until the call's end, which must be this.
    pub async fn expect_status(&mut self, code: Code) -> Outcome<Status> {
        loop {
            match self.read().await {
                Ok(Some(_)) => {}
                Ok(None) => return Err("the call has ended with OK".into()),
                Err(status) => {
                    check(status.code() == code, &status)?;
                    return Ok(status);
                }
            }
        }
    }

    pub async fn trailers(&mut self) -> Outcome<MetadataMap> {
        self.answers.trailers().await.map_err(failed)?.ok_or_else(|| "there are no trailers".into())
    }
}

fn add(metadata: &mut MetadataMap, name: &'static str, value: &[u8]) {
    if name.ends_with("-bin") {
        metadata.append_bin(MetadataKey::<Binary>::from_static(name), MetadataValue::from_bytes(value));
    } else {
        let value = MetadataValue::try_from(value).expect("metadata are ASCII");
        metadata.append(MetadataKey::<Ascii>::from_static(name), value);
    }
}
