//! One QUIC stream as fast as it goes, by quinn on one thread.
//!
//! Standard input is a socket to the other side: the server sends its certificate over it.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::{ClientConfig, Endpoint, ServerConfig, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [side, at, to, size, milliseconds] = arguments.as_slice() else {
        return Err("usage: quinn-stream server|client AT TO SIZE MILLISECONDS".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let control = UnixDatagram::from(OwnedFd::from(std::io::stdin().as_fd().try_clone_to_owned()?));
    let size = size.parse()?;
    if side == "server" {
        return runtime.block_on(serve(&control, at.parse()?, size));
    }
    let time = Duration::from_millis(milliseconds.parse()?);
    let rate = runtime.block_on(send(&control, at.parse()?, to.parse()?, size, time))?;
    println!("0 0 {rate}");
    Ok(())
}

async fn serve(control: &UnixDatagram, at: SocketAddr, size: usize) -> Outcome<()> {
    let identity = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
    let certificate = identity.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der());
    let mut config = ServerConfig::with_single_cert(vec![certificate.clone()], key.into())?;
    config.transport_config(windows());
    let endpoint = Endpoint::server(config, at)?;
    control.send(&certificate)?;
    let connection = endpoint.accept().await.ok_or("closed")?.await?;
    let (mut answer, mut stream) = connection.accept_bi().await?;
    let mut bytes = vec![0; size];
    while stream.read(&mut bytes).await?.is_some() {}
    answer.write_all(&[1]).await?;
    answer.finish()?;
    connection.closed().await;
    Ok(())
}

async fn send(
    control: &UnixDatagram,
    at: SocketAddr,
    to: SocketAddr,
    size: usize,
    time: Duration,
) -> Outcome<u128> {
    let mut certificate = vec![0; 4096];
    let len = control.recv(&mut certificate)?;
    certificate.truncate(len);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate))?;
    let mut config = ClientConfig::with_root_certificates(Arc::new(roots))?;
    config.transport_config(windows());
    let endpoint = Endpoint::client(at)?;
    let connection = endpoint.connect_with(config, to, NAME)?.await?;
    let (mut stream, mut answer) = connection.open_bi().await?;
    let bytes = vec![0; size];
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < time {
        stream.write_all(&bytes).await?;
        sent += bytes.len();
    }
    stream.finish()?;
    answer.read_exact(&mut [0]).await?;
    let rate = sent as u128 * 1_000_000_000 / start.elapsed().as_nanos().max(1);
    connection.close(VarInt::from_u32(0), b"done");
    Ok(rate)
}

/// Windows that never hold the sender back.
fn windows() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config.stream_receive_window(VarInt::from_u32(8 << 20));
    config.receive_window(VarInt::from_u32(16 << 20));
    config.send_window(16 << 20);
    Arc::new(config)
}

const NAME: &str = "bench.invalid";
