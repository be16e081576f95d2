//! How a service embeds the engine: one model, a pool of sessions, requests answered in small batches with a deadline each.
//!
//! `cargo run --release --example service -- MODEL.horq [WORKERS [REQUESTS]]`

use horq::{ErrorKind, Model, RunOptions, SessionOptions, SessionPool};
use std::error::Error;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The most requests that one run answers.
const BATCH: usize = 8;
/// Requests that may wait; a full queue makes the sender wait, so memory stays bounded.
const QUEUE: usize = 64;
/// How long a batch may take, waiting for a session and running.
const PATIENCE: Duration = Duration::from_secs(2);

struct Request {
    input: Vec<f32>,
    sent: Instant,
    reply: Sender<Result<Reply, String>>,
}

struct Reply {
    output: Vec<f32>,
    latency: Duration,
    batch: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: service MODEL.horq [WORKERS [REQUESTS]]")?;
    let workers: usize = arguments.next().map_or(Ok(2), |count| count.parse())?;
    let requests: usize = arguments.next().map_or(Ok(1000), |count| count.parse())?;
    let model = Model::open(path)?;

    // Sessions share the model's weights; each has its own working memory, so no worker waits for another's run.
    let pool = SessionPool::new(&model, SessionOptions::new().batch(BATCH), workers.max(1))?;
    let (queue, waiting): (SyncSender<Request>, _) = mpsc::sync_channel(QUEUE);
    let waiting = Arc::new(Mutex::new(waiting));
    for _ in 0..workers.max(1) {
        let (pool, waiting) = (pool.clone(), waiting.clone());
        std::thread::spawn(move || work(&pool, &waiting));
    }

    let start = Instant::now();
    let (reply, replies) = mpsc::channel();
    let input = vec![0.5; model.input_shape().len()];
    let client = std::thread::spawn(move || {
        for _ in 0..requests {
            let request = Request { input: input.clone(), sent: Instant::now(), reply: reply.clone() };
            if queue.send(request).is_err() {
                break; // every worker is gone; the replies say why
            }
        }
    });
    let replies: Vec<Reply> = replies.iter().collect::<Result<_, _>>()?;
    client.join().map_err(|_| "the client panicked")?;

    let mut latencies: Vec<Duration> = replies.iter().map(|reply| reply.latency).collect();
    latencies.sort();
    let (Some(last), Some(worst)) = (replies.last(), latencies.last()) else { return Err("no request".into()) };
    let seconds = start.elapsed().as_secs_f64();
    println!("{requests} requests in {seconds:.3} s: {:.0} a second", requests as f64 / seconds);
    println!(
        "latency: median {:?}, 99 % {:?}, worst {worst:?}",
        latencies[requests / 2],
        latencies[requests * 99 / 100]
    );
    println!("the last answer came in a batch of {}: {:?}", last.batch, &last.output[..last.output.len().min(10)]);
    Ok(())
}

/// Answers requests until the queue closes: waits for one, takes what else has come meanwhile, and runs them together.
fn work(pool: &SessionPool, waiting: &Mutex<Receiver<Request>>) {
    let len = pool.model().output_shape().len();
    let mut requests: Vec<Request> = Vec::with_capacity(BATCH);
    let mut output = vec![0.0; BATCH * len];
    loop {
        {
            let Ok(waiting) = waiting.lock() else { return };
            let Ok(first) = waiting.recv() else { return };
            requests.push(first);
            requests.extend(waiting.try_iter().take(BATCH - 1));
        }
        let deadline = Instant::now() + PATIENCE;
        while let Err((sample, error)) = answer(pool, deadline, &requests, &mut output) {
            // The one at fault is refused, and the others are answered without it; all of them where it is nobody's fault.
            let refused = sample.map_or(0..requests.len(), |sample| sample..sample + 1);
            for request in requests.drain(refused) {
                let _ = request.reply.send(Err(error.clone())); // a client that left needs no answer
            }
        }
        let batch = requests.len();
        for (request, output) in requests.drain(..).zip(output.chunks(len)) {
            let reply = Reply { output: output.to_vec(), latency: request.sent.elapsed(), batch };
            let _ = request.reply.send(Ok(reply));
        }
    }
}

/// Answers some requests together, or says why not, and which of them is at fault if one is.
fn answer(
    pool: &SessionPool,
    deadline: Instant,
    requests: &[Request],
    output: &mut [f32],
) -> Result<(), (Option<usize>, String)> {
    if requests.is_empty() {
        return Ok(());
    }
    let input: Vec<f32> = requests.iter().flat_map(|request| request.input.iter().copied()).collect();
    let answered = pool.get_deadline(deadline).and_then(|mut session| {
        let output = &mut output[..requests.len() * session.output_len()];
        session.run_with(&input, output, &RunOptions::new().deadline(deadline))
    });
    answered.map_err(|error| match error.kind() {
        ErrorKind::Resource | ErrorKind::Interrupted => (None, format!("busy, try again later: {error}")),
        _ => (error.sample(), error.to_string()),
    })
}
