use horq::{Error, Model, Session, SessionOptions};

fn main() -> Result<(), Error> {
    let model = Model::open(std::env::args().nth(1).expect("usage: ten-lines MODEL.horq"))?;
    let mut session = Session::new(&model, SessionOptions::new())?;
    let input = vec![0.5; session.input_len()];
    let mut output = vec![0.0; session.output_len()];
    session.run(&input, &mut output)?;
    Ok(println!("{output:?}"))
}
