//! Greets everybody in a JSON file, each in their own language.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{value_parser, Arg, ArgAction, Command};
use serde::Deserialize;

#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Language {
    #[default]
    English,
    German,
    Spanish,
}

#[derive(Debug, Deserialize)]
struct Person {
    name: String,
    #[serde(default)]
    language: Language,
}

fn main() -> Result<()> {
    let matches = command().get_matches();
    let formal = matches.get_flag("formal");
    let path = matches
        .get_one::<PathBuf>("people")
        .context("no file given")?;
    for person in read(path)? {
        println!("{}", greeting(&person, formal));
    }
    Ok(())
}

fn command() -> Command {
    Command::new("greeter-cli")
        .about("Greets everybody in a JSON file")
        .arg(
            Arg::new("formal")
                .long("formal")
                .action(ArgAction::SetTrue)
                .help("Say it politely"),
        )
        .arg(
            Arg::new("people")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("A JSON list of {\"name\", \"language\"}"),
        )
}

fn read(path: &Path) -> Result<Vec<Person>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not a list of people", path.display()))
}

fn greeting(person: &Person, formal: bool) -> String {
    let hello = match (person.language, formal) {
        (Language::English, false) => "Hi",
        (Language::English, true) => "Good day",
        (Language::German, false) => "Hallo",
        (Language::German, true) => "Guten Tag",
        (Language::Spanish, false) => "Hola",
        (Language::Spanish, true) => "Buenos días",
    };
    format!("{hello}, {}!", person.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greets_in_the_language_of_the_person() {
        let people: Vec<Person> =
            serde_json::from_str(r#"[{"name": "Ada"}, {"name": "Konrad", "language": "german"}]"#)
                .unwrap();
        let said: Vec<String> = people.iter().map(|person| greeting(person, true)).collect();
        assert_eq!(said, ["Good day, Ada!", "Guten Tag, Konrad!"]);
    }

    #[test]
    fn command_line_is_consistent() {
        command().debug_assert();
    }
}
