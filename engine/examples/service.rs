//! How a service embeds the engine: one model, one session a worker thread, requests answered in small batches.
//!
//! `cargo run --release --example service -- MODEL.horq [WORKERS [REQUESTS]]`

use horq::{Model, Session, SessionOptions};
use std::error::Error;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The most requests that one run answers.
const BATCH: usize = 8;
/// Requests that may wait; a full queue makes the sender wait, so memory stays bounded.
const QUEUE: usize = 64;

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

    let (queue, waiting): (SyncSender<Request>, _) = mpsc::sync_channel(QUEUE);
    let waiting = Arc::new(Mutex::new(waiting));
    for _ in 0..workers.max(1) {
        // Sessions share the model's weights; each has its own working memory, so no worker waits for another's run.
        let session = Session::new(&model, SessionOptions::new().batch(BATCH))?;
        let waiting = waiting.clone();
        std::thread::spawn(move || work(session, &waiting));
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
fn work(mut session: Session, waiting: &Mutex<Receiver<Request>>) {
    let mut requests: Vec<Request> = Vec::with_capacity(BATCH);
    let (mut input, mut output) = (Vec::new(), vec![0.0; BATCH * session.output_len()]);
    loop {
        {
            let Ok(waiting) = waiting.lock() else { return };
            let Ok(first) = waiting.recv() else { return };
            requests.push(first);
            requests.extend(waiting.try_iter().take(BATCH - 1));
        }
        input.clear();
        requests.iter().for_each(|request| input.extend_from_slice(&request.input));
        let (batch, len) = (requests.len(), session.output_len());
        let result = session.run(&input, &mut output[..batch * len]).map_err(|error| error.to_string());
        for (request, output) in requests.drain(..).zip(output.chunks(len)) {
            let reply = || Reply { output: output.to_vec(), latency: request.sent.elapsed(), batch };
            let _ = request.reply.send(result.clone().map(|()| reply())); // a client that left needs no answer
        }
    }
}
