//! What contrib/ gives to schedulers: parsed as far as that goes without them, and the nightly job itself run.

use crate::support::Shop;
use std::path::{Path, PathBuf};
use std::process::Command;

fn contrib(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(contrib(name)).unwrap()
}

/// Lines without comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[test]
fn the_nightly_job_publishes_once_and_skips_the_second_time() {
    let shop = Shop::new();
    shop.ok(&["demo", "--transactions", "20000", "--customers", "2000"]);
    let program = Path::new(env!("CARGO_BIN_EXE_packwise")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let night = |flags: &[&str]| {
        let output = Command::new("sh")
            .arg(contrib("nightly.sh"))
            .arg("packwise-demo/packwise.toml")
            .args(flags)
            .current_dir(shop.path(""))
            .env("PATH", &path)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), text, String::from_utf8(output.stderr).unwrap())
    };
    // Another setting than the demo's: there is something new.
    let other = ["--set", "recommendations.top=4"];
    let (code, said, log) = night(&other);
    assert_eq!(code, 0, "{said}{log}");
    assert!(said.contains("\"status\":\"published\""), "{said}");
    assert!(said.contains("free"), "the doctor's table: {said}");
    let (code, said, log) = night(&other);
    assert_eq!(code, 0, "{said}{log}");
    assert!(said.contains("\"status\":\"nothing-new\""), "{said}");
    let (code, _, log) = night(&["--set", "transactions.columns.time=NO_SUCH"]);
    assert_eq!(code, 3, "{log}");
    assert!(log.contains("NO_SUCH"), "{log}");
}

/// A unit file as systemd reads it: sections of keys.
fn unit(text: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut entries = Vec::new();
    for line in lines(text) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
        entries.push((section.clone(), key.to_owned(), value.to_owned()));
    }
    entries
}

#[test]
fn the_units_are_what_systemd_takes() {
    let value = |entries: &[(String, String, String)], section: &str, key: &str| {
        entries
            .iter()
            .find(|(s, k, _)| s == section && k == key)
            .unwrap_or_else(|| panic!("{section} {key}"))
            .2
            .clone()
    };
    let service = unit(&read("systemd/packwise.service"));
    assert_eq!(value(&service, "Service", "Type"), "oneshot");
    assert!(value(&service, "Service", "ExecStart").starts_with("/usr/local/bin/nightly.sh /"));
    assert_eq!(value(&service, "Service", "UMask"), "0077");
    let timer = unit(&read("systemd/packwise.timer"));
    assert_eq!(value(&timer, "Timer", "OnCalendar"), "*-*-* 02:30:00");
    let sections = ["Unit", "Service", "Timer", "Install"];
    for (section, key, text) in service.iter().chain(&timer) {
        assert!(sections.contains(&section.as_str()), "{section}");
        assert!(key.chars().all(|c| c.is_ascii_alphanumeric()) && !text.is_empty(), "{key}={text}");
    }
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("systemd-analyze is not there: the units were only parsed");
        return;
    }
    let calendar = Command::new("systemd-analyze").args(["calendar", "*-*-* 02:30:00"]).output().unwrap();
    assert!(calendar.status.success());
}

#[test]
fn the_crontab_has_a_time_a_user_and_a_lock() {
    let text = read("crontab");
    let jobs: Vec<&str> =
        lines(&text).filter(|line| !line.split(' ').next().unwrap().contains('=')).collect();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    let fields: Vec<&str> = jobs[0].splitn(7, ' ').collect();
    let limits = [59, 23, 31, 12, 7];
    for (field, limit) in fields[..5].iter().zip(limits) {
        assert!(*field == "*" || field.parse::<u32>().unwrap() <= limit, "{field}");
    }
    assert_eq!(fields[5], "packwise");
    assert!(fields[6].contains("flock -n") && fields[6].contains("nightly.sh /"), "{}", fields[6]);
    assert!(!fields[6].contains('%'), "cron takes it for a line end");
    let shell = Command::new("sh").args(["-n", "-c", fields[6]]).status().unwrap();
    assert!(shell.success());
}

#[test]
fn the_python_examples_compile_and_call_commands_that_exist() {
    for name in ["airflow/packwise_nightly.py", "dagster/packwise_nightly.py"] {
        let text = read(name);
        match Command::new("python3")
            .args(["-c", "import ast, sys; ast.parse(sys.stdin.read())"])
            .stdin(std::fs::File::open(contrib(name)).unwrap())
            .output()
        {
            Ok(parsed) => {
                assert!(parsed.status.success(), "{name}: {}", String::from_utf8_lossy(&parsed.stderr))
            }
            Err(_) => eprintln!("python3 is not there: {name} was not parsed"),
        }
        assert!(text.contains("--skip-if-fresh") && text.contains("99"), "{name}");
    }
    // Every flag that contrib/ uses is one of the program's.
    let shop = Shop::new();
    let help = |command: &[&str]| shop.ok(&[command, &["--help"]].concat());
    let known = help(&["run"]) + &help(&["doctor"]) + &help(&["runs", "gc"]);
    for name in ["nightly.sh", "airflow/packwise_nightly.py", "dagster/packwise_nightly.py"] {
        for line in read(name).lines().filter(|line| line.contains("packwise") && line.contains("--")) {
            let flags = line
                .split(|c: char| c.is_whitespace() || c == '"' || c == ',')
                .filter(|word| word.starts_with("--"));
            flags.for_each(|flag| assert!(known.contains(flag), "{name}: {flag}"));
        }
    }
}

#[test]
fn the_dockerfile_copies_files_that_exist() {
    let text = read("docker/Dockerfile").replace("\\\n", " ");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let instructions = ["FROM", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT", "CMD"];
    for line in lines(&text) {
        let (instruction, rest) = line.split_once(' ').unwrap();
        assert!(instructions.contains(&instruction), "{line}");
        if instruction == "COPY" && !rest.starts_with("--from") {
            let words: Vec<&str> = rest.split_whitespace().collect();
            words[..words.len() - 1].iter().for_each(|file| assert!(root.join(file).exists(), "{file}"));
        }
    }
    let toolchain = std::fs::read_to_string(root.join("rust-toolchain.toml")).unwrap();
    let version = lines(&text).next().unwrap().split([':', '-']).nth(1).unwrap();
    assert!(toolchain.contains(version), "the compiler of the Dockerfile is not that of rust-toolchain.toml");
}
