//! The cases with tonic. Started with --target host:port --session id, it reads the names of cases from its standard
//! input, one a line, and answers each with a line of JSON; the line "?" is answered with the names of its cases.

mod call;
mod cases;

use std::io::{stdin, BufRead};

use call::Client;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let place = arguments.iter().position(|each| each == name).expect("--target and --session are needed");
        arguments[place + 1].clone()
    };
    let (target, session) = (value("--target"), value("--session"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for line in stdin().lock().lines().map_while(Result::ok) {
        let mut told = serde_json::json!({ "case": line });
        if line == "?" {
            told["cases"] = cases::NAMES.to_vec().into();
        } else {
            let outcome = runtime.block_on(async {
                let client = Client::connect(&target, &session, cases::ADAPTIVE.contains(&line.as_str())).await?;
                cases::run(&line, &client).await
            });
            told["ok"] = outcome.is_ok().into();
            told["detail"] = outcome.err().unwrap_or_default().into();
        }
        println!("{told}");
    }
}
