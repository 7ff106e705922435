//! Queries by zenoh over TCP between two peers, without a router.

use std::time::{Duration, Instant};

use zenoh::Config;
use zenoh::bytes::ZBytes;

use crate::measure::calls;
use crate::{Outcome, Task};

pub async fn run(task: &Task) -> Outcome<()> {
    let mut config = Config::default();
    config.insert_json5("scouting/multicast/enabled", "false")?;
    config.insert_json5("mode", "\"peer\"")?;
    if task.server {
        config.insert_json5("listen/endpoints", &format!("[\"tcp/{}\"]", task.at))?;
        let session = zenoh::open(config).await?;
        let queryable = session.declare_queryable(KEY).await?;
        task.control.send(b"listening")?;
        loop {
            let query = queryable.recv_async().await?;
            let payload = query.payload().cloned().unwrap_or_default();
            query.reply(KEY, payload).await?;
        }
    }
    task.control.recv(&mut [0; 16])?;
    config.insert_json5("listen/endpoints", "[]")?;
    config.insert_json5("connect/endpoints", &format!("[\"tcp/{}\"]", task.to))?;
    let session = zenoh::open(config).await?;
    let content = ZBytes::from(vec![1; task.size]);
    let call = || async {
        let replies = session.get(KEY).payload(content.clone()).await?;
        let reply = replies.recv_async().await?;
        let sample = reply.result().map_err(|error| format!("{error:?}"))?;
        Ok(sample.payload().len())
    };
    // Until the other side's declaration has arrived there is nobody to answer.
    let patience = Instant::now() + Duration::from_secs(5);
    while let Err(error) = call().await {
        if Instant::now() > patience {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    calls(task, call).await
}

const KEY: &str = "bench/echo";
