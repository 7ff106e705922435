//! Calls by tarpc over TCP with bincode.

use futures::StreamExt;
use serde_bytes::ByteBuf;
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{context, serde_transport};

use crate::measure::calls;
use crate::{Outcome, Task};

#[tarpc::service]
trait Echo {
    async fn echo(bytes: ByteBuf) -> ByteBuf;
}

#[derive(Clone)]
struct Server;

impl Echo for Server {
    async fn echo(self, _: context::Context, bytes: ByteBuf) -> ByteBuf {
        bytes
    }
}

pub async fn run(task: &Task) -> Outcome<()> {
    if task.server {
        let mut listener = serde_transport::tcp::listen(task.at, Bincode::default).await?;
        listener.config_mut().max_frame_length(FRAME_MAX);
        task.control.send(b"listening")?;
        let transport = listener.next().await.ok_or("closed")??;
        let serving = BaseChannel::with_defaults(transport).execute(Server.serve());
        serving
            .for_each(|answer| async {
                tokio::spawn(answer);
            })
            .await;
        return Ok(());
    }
    task.control.recv(&mut [0; 16])?;
    let mut connect = serde_transport::tcp::connect(task.to, Bincode::default);
    connect.config_mut().max_frame_length(FRAME_MAX);
    let client = EchoClient::new(Default::default(), connect.await?).spawn();
    let content = ByteBuf::from(vec![1; task.size]);
    calls(task, || async {
        Ok(client
            .echo(context::current(), content.clone())
            .await?
            .len())
    })
    .await
}

const FRAME_MAX: usize = 64 << 20;
