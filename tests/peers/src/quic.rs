//! QUIC by quinn: a stream for each call, or one stream as fast as it goes.

use std::sync::Arc;
use std::time::Instant;

use quinn::{ClientConfig, Connection, Endpoint, ServerConfig, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::measure::{Meter, calls};
use crate::{Outcome, Task};

pub async fn run(task: &Task) -> Outcome<()> {
    let stream = task.kind == "quinn-stream";
    if task.server {
        let connection = accept(task).await?;
        return if stream {
            drain(&connection, task.size).await
        } else {
            answer(&connection, task.size).await
        };
    }
    let connection = connect(task).await?;
    if stream {
        pour(task, &connection).await?;
    } else {
        let content = vec![1; task.size];
        calls(task, || async {
            let (mut ask, mut take) = connection.open_bi().await?;
            ask.write_all(&content).await?;
            ask.finish()?;
            Ok(take.read_to_end(task.size).await?.len())
        })
        .await?;
    }
    connection.close(VarInt::from_u32(0), b"done");
    Ok(())
}

async fn accept(task: &Task) -> Outcome<Connection> {
    let identity = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
    let certificate = identity.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
    let mut config = ServerConfig::with_single_cert(vec![certificate.clone()], key.into())?;
    config.transport_config(windows());
    let endpoint = Endpoint::server(config, task.at)?;
    task.control.send(&certificate)?;
    Ok(endpoint.accept().await.ok_or("closed")?.await?)
}

async fn connect(task: &Task) -> Outcome<Connection> {
    let mut certificate = vec![0; 4096];
    let len = task.control.recv(&mut certificate)?;
    certificate.truncate(len);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate))?;
    let mut config = ClientConfig::with_root_certificates(Arc::new(roots))?;
    config.transport_config(windows());
    let endpoint = Endpoint::client(task.at)?;
    Ok(endpoint.connect_with(config, task.to, NAME)?.await?)
}

async fn answer(connection: &Connection, size: usize) -> Outcome<()> {
    while let Ok((mut answer, mut question)) = connection.accept_bi().await {
        tokio::spawn(async move {
            let bytes = question.read_to_end(size).await?;
            answer.write_all(&bytes).await?;
            answer.finish()?;
            Outcome::Ok(())
        });
    }
    Ok(())
}

async fn drain(connection: &Connection, size: usize) -> Outcome<()> {
    let (mut answer, mut stream) = connection.accept_bi().await?;
    let mut bytes = vec![0; size];
    while stream.read(&mut bytes).await?.is_some() {}
    answer.write_all(&[1]).await?;
    answer.finish()?;
    connection.closed().await;
    Ok(())
}

async fn pour(task: &Task, connection: &Connection) -> Outcome<()> {
    let (mut stream, mut answer) = connection.open_bi().await?;
    let bytes = vec![0; task.size];
    let warm = Instant::now();
    while warm.elapsed() < task.time / 4 {
        stream.write_all(&bytes).await?;
    }
    let meter = Meter::start(task)?;
    let mut sent = 0;
    while meter.nanoseconds() < task.time.as_nanos() {
        stream.write_all(&bytes).await?;
        sent += bytes.len();
    }
    stream.finish()?;
    answer.read_exact(&mut [0]).await?;
    let (elapsed, used) = (meter.nanoseconds(), meter.used()?);
    let rate = sent as u128 * 1_000_000_000 / elapsed.max(1);
    println!("0 0 {rate} {sent} {elapsed} {used}");
    Ok(())
}

/// Windows that never hold the sender back.
fn windows() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config.stream_receive_window(VarInt::from_u32(8 << 20));
    config.receive_window(VarInt::from_u32(32 << 20));
    config.send_window(32 << 20);
    Arc::new(config)
}

const NAME: &str = "bench.invalid";
