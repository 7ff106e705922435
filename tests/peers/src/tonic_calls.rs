//! gRPC by tonic: one unary call with one field of bytes.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{Body, BoxFuture, Service, StdError, http};
use tonic::server::{NamedService, UnaryService};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::measure::calls;
use crate::{Outcome, Task};

#[derive(Clone, PartialEq, prost::Message)]
struct Blob {
    #[prost(bytes = "bytes", tag = "1")]
    bytes: Bytes,
}

#[derive(Clone)]
struct Echo;

impl UnaryService<Blob> for Echo {
    type Response = Blob;
    type Future = BoxFuture<Response<Blob>, Status>;

    fn call(&mut self, request: Request<Blob>) -> Self::Future {
        Box::pin(async move { Ok(Response::new(request.into_inner())) })
    }
}

impl<B> Service<http::Request<B>> for Echo
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Blob, Blob>::default());
            Ok(grpc.unary(Self, request).await)
        })
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "bench.Echo";
}

pub async fn run(task: &Task) -> Outcome<()> {
    if task.server {
        let mut builder = Server::builder()
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .tcp_nodelay(true);
        return Ok(builder.add_service(Echo).serve(task.at).await?);
    }
    let endpoint = Endpoint::from_shared(format!("http://{}", task.to))?
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .tcp_nodelay(true);
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(5);
    let channel = loop {
        match endpoint.connect().await {
            Ok(channel) => break channel,
            Err(error) if std::time::Instant::now() > patience => return Err(error.into()),
            Err(_not_yet) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    };
    let content = Blob {
        bytes: Bytes::from(vec![1; task.size]),
    };
    calls(task, || async {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await?;
        let path = PathAndQuery::from_static("/bench.Echo/Call");
        let codec = ProstCodec::<Blob, Blob>::default();
        let reply = grpc
            .unary(Request::new(content.clone()), path, codec)
            .await?;
        Ok(reply.into_inner().bytes.len())
    })
    .await
}

const WINDOW: u32 = 32 << 20;
