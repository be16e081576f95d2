//! How long a sample takes at mixtures of orders.

use std::time::{Duration, Instant};

use horq::{Error, Order, Session};

/// The names and the highest orders of a session's binary layers, in the order of execution.
pub fn layers(session: &Session) -> Vec<(String, usize)> {
    let binary = session.profile().iter().filter_map(|layer| Some((layer.name.clone(), layer.binary?.max_order)));
    binary.collect()
}

/// Sets each binary layer to its order.
///
/// # Errors
/// An order that a layer has not.
pub fn set_orders(session: &mut Session, layers: &[(String, usize)], orders: &[usize]) -> Result<(), Error> {
    layers.iter().zip(orders).try_for_each(|((name, _), &order)| session.set_layer_order(name, Order::new(order)?))
}

/// The least microseconds of a run of one sample at each of the mixtures, which take turns for about `limit`, or three rounds where that is
/// longer. Each time, one run warms up before the one that counts.
///
/// Other programs disturb some rounds, hardly ever all, so the fastest counts: it is what the work itself takes.
///
/// # Errors
/// As [`Session::run`].
pub fn microseconds(
    session: &mut Session,
    layers: &[(String, usize)],
    mixtures: &[Vec<usize>],
    input: &[f32],
    limit: Duration,
) -> Result<Vec<f64>, Error> {
    const LEAST_ROUNDS: usize = 3;
    let mut output = vec![0.0; session.output_len()];
    let mut best = vec![f64::INFINITY; mixtures.len()];
    let start = Instant::now();
    for round in 0.. {
        if round >= LEAST_ROUNDS && start.elapsed() > limit {
            break;
        }
        for (orders, best) in mixtures.iter().zip(&mut best) {
            set_orders(session, layers, orders)?;
            session.run(input, &mut output)?;
            let began = Instant::now();
            session.run(input, &mut output)?;
            *best = best.min(began.elapsed().as_nanos() as f64 / 1000.0);
        }
    }
    Ok(best)
}
