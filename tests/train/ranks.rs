//! Groups of ranks: each rank is a process of its own, which runs the test that started it once
//! more and finds its place in the environment.

use std::env;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Output, Stdio, abort};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tch::{Kind, Tensor};
use unet3d::distributed::{Group, Place, Ranks, die_with_parent};
use unet3d::ffi::group::{Server, Store};
use unet3d::ffi::tensor::end_at_once;

/// What a rank prints between these is its answer.
const BEGIN: &str = "<answer>";
const END: &str = "</answer>";
/// The variable that marks the process that starts ranks by [`Ranks`].
const STARTER: &str = "UNET3D_TEST_STARTER";

/// A test of this binary as a process of its own.
pub fn again(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The place of a rank in torchrun's variables.
pub fn place(rank: usize, size: usize, port: u16) -> [(&'static str, String); 4] {
    [
        ("RANK", rank.to_string()),
        ("WORLD_SIZE", size.to_string()),
        ("MASTER_ADDR", "127.0.0.1".to_string()),
        ("MASTER_PORT", port.to_string()),
    ]
}

/// Starts a test of this binary as some of the `size` ranks of a group.
fn start(test: &str, ranks: &[usize], size: usize, port: u16) -> Vec<Child> {
    let start = |rank: &usize| again(test).envs(place(*rank, size, port)).spawn().unwrap();
    ranks.iter().map(start).collect()
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// What a process printed as its answer.
pub fn answer(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    let text = out.split(BEGIN).nth(1).and_then(|rest| rest.split(END).next());
    let err = String::from_utf8_lossy(&output.stderr);
    text.unwrap_or_else(|| panic!("{}: {out}\n{err}", output.status)).to_string()
}

/// Runs a test of this binary as all `size` ranks of a group, and gives their answers.
pub fn answers(test: &str, size: usize) -> Vec<String> {
    let ranks: Vec<_> = (0..size).collect();
    let children = start(test, &ranks, size, free_port());
    children.into_iter().map(|child| answer(&child.wait_with_output().unwrap())).collect()
}

/// In a rank, runs `work` with the group and its timeout in seconds, prints what it gives or
/// fails with, and ends the process. Returns in the process that is no rank.
pub fn as_rank(timeout: u64, work: impl FnOnce(&Group) -> anyhow::Result<String>) {
    let Some(place) = Place::of_environment().unwrap() else { return };
    end_at_once();
    die_with_parent().unwrap();
    let text = match Group::meet(&place, Duration::from_secs(timeout)) {
        Err(error) => format!("{error:#}"),
        Ok(group) => match work(&group).and_then(|text| group.end().map(|()| text)) {
            Ok(text) => text,
            Err(error) => format!("{:#}", group.conclude(error)),
        },
    };
    println!("{BEGIN}{text}{END}");
    std::process::exit(0);
}

/// Numbers whose sum depends on the order in which they are added.
fn uneven(rank: usize, count: i64) -> Tensor {
    let steps = Tensor::arange(count, (Kind::Float, tch::Device::Cpu));
    (steps * (0.7 + rank as f64 * 1.3)).sin() * 10f64.powi(rank as i32 - 2)
}

fn bits(tensor: &Tensor) -> u64 {
    let values = Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap();
    values.iter().fold(17, |hash: u64, x| hash.wrapping_mul(31).wrapping_add(x.to_bits().into()))
}

#[test]
fn ranks_sum_and_take_over() {
    as_rank(30, |group| {
        let (rank, size) = (group.rank(), group.size());
        let mut numbers = [rank as f64, 1.0, 0.25];
        group.sum_numbers(&mut numbers)?;
        let total = (0..size).sum::<usize>() as f64;
        assert_eq!(numbers, [total, size as f64, 0.25 * size as f64]);

        // A transposed tensor keeps its order of indices, and the summand its values.
        let own = Tensor::from_slice(&[1i64, 2, 3, 4, 5, 6]).reshape([2, 3]).transpose(0, 1)
            * (rank as i64 + 1);
        let kept = own.copy();
        let factor = (total as i64) + size as i64;
        let want = Tensor::from_slice(&[1i64, 4, 2, 5, 3, 6]).reshape([3, 2]) * factor;
        assert_eq!(group.sum(&own)?, want);
        assert_eq!(own, kept);

        let parts = [uneven(rank, 7).reshape([7, 1]), uneven(rank, 50_000)];
        let sums = group.sum_all(&parts)?;
        for (sum, part) in sums.iter().zip(&parts) {
            let terms: Vec<_> = (0..size).map(|r| uneven(r, part.size()[0])).collect();
            let want = Tensor::stack(&terms, 0).to_kind(Kind::Double).sum_dim_intlist(
                0i64,
                false,
                Kind::Double,
            );
            let difference = f64::try_from((sum.view(-1) - want).abs().max())?;
            assert!(difference < 1e-5 && sum.size() == part.size(), "{difference}");
        }

        let taken = uneven(rank, 5).set_requires_grad(true);
        group.take_from_first(std::slice::from_ref(&taken))?;
        assert_eq!(taken, uneven(0, 5));
        let text = group.text_of_first("greeting", || Ok(format!("from {rank}")))?;
        group.agree("text", "the same", |_, _, _| unreachable!())?;
        let texts = group.texts("places", &format!("<{rank}>"))?;
        assert_eq!(texts.concat(), (0..size).map(|rank| format!("<{rank}>")).collect::<String>());
        Ok(format!("{text}: {:x}", bits(&sums[1])))
    });
    let all: Vec<_> = [2, 3, 4].map(|size| answers("ranks::ranks_sum_and_take_over", size)).into();
    for answers in &all {
        assert!(answers[0].starts_with("from 0: "), "{answers:?}");
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    assert_eq!(answers("ranks::ranks_sum_and_take_over", 4), all[2], "two runs differ");
}

#[test]
fn a_rank_that_never_comes_is_named() {
    as_rank(2, |_| Ok("met".into()));
    for (coming, missing) in [(vec![0, 2], "rank 1 did not come within 2 s"), (vec![1], "rank 0")] {
        let name = "ranks::a_rank_that_never_comes_is_named";
        for child in start(name, &coming, 3, free_port()) {
            let answer = answer(&child.wait_with_output().unwrap());
            assert!(answer.contains(missing), "{answer}");
        }
    }
}

#[test]
fn a_rank_with_another_configuration_is_named() {
    as_rank(30, |group| {
        let text = if group.rank() == 2 { "b" } else { "a" };
        group.agree("configuration", text, |rank, own, first| {
            format!("rank {rank} has another one: {own}, not {first}")
        })?;
        Ok("agreed".into())
    });
    for answer in answers("ranks::a_rank_with_another_configuration_is_named", 3) {
        assert!(answer.contains("rank 2 has another one: b, not a"), "{answer}");
    }
}

#[test]
fn another_version_is_named() {
    as_rank(30, |_| Ok("met".into()));
    let port = free_port();
    let mut ranks = start("ranks::another_version_is_named", &[0], 2, port);
    // Rank 1 is played here.
    let store = Store::open("127.0.0.1", port, Server::Other, Duration::from_secs(30)).unwrap();
    store.add("place/1", 1).unwrap();
    store.set("version/1", "=0.0.0").unwrap();
    store.add("left", 1).unwrap();
    let answer = answer(&ranks.remove(0).wait_with_output().unwrap());
    assert!(answer.contains("rank 1 is version 0.0.0 of the program, and rank 0 is"), "{answer}");
}

#[test]
fn a_port_in_use_is_told() {
    as_rank(2, |_| Ok("met".into()));
    let taken = TcpListener::bind("[::]:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut ranks = start("ranks::a_port_in_use_is_told", &[0], 2, port);
    let answer = answer(&ranks.remove(0).wait_with_output().unwrap());
    assert!(answer.contains("set another MASTER_PORT"), "{answer}");
}

#[test]
fn a_rank_that_dies_or_fails_is_named() {
    as_rank(60, |group| {
        group.wait_for_all()?;
        match (group.size(), group.rank()) {
            (3, 1) => abort(),
            (4, 2) => anyhow::bail!("no data"),
            _ => {}
        }
        // Some of the sums may pass before the connection breaks.
        (0..100).try_for_each(|_| group.wait_for_all())?;
        Ok("went on".into())
    });
    let name = "ranks::a_rank_that_dies_or_fails_is_named";
    let children = start(name, &[0, 1, 2], 3, free_port());
    let failing = start(name, &[0, 1, 2, 3], 4, free_port());
    let outputs: Vec<_> =
        children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    assert_eq!(outputs[1].status.signal(), Some(6));
    for rank in [0, 2] {
        let answer = answer(&outputs[rank]);
        assert!(answer.contains("rank 1 died"), "{rank}: {answer}");
    }
    for child in failing {
        let answer = answer(&child.wait_with_output().unwrap());
        assert!(answer.contains("rank 2: no data"), "{answer}");
    }
}

#[test]
fn the_starter_ends_all_ranks_if_one_is_killed() {
    if env::var_os(STARTER).is_some() && env::var_os("RANK").is_none() {
        let ended = Ranks::start(3, &[]).unwrap().wait(&AtomicBool::new(false));
        println!("{BEGIN}{:#}{END}", ended.unwrap_err());
        return;
    }
    as_rank(60, |group| {
        group.wait_for_all()?;
        if group.rank() == 1 {
            abort();
        }
        loop {
            group.wait_for_all()?;
        }
    });
    let output = again("ranks::the_starter_ends_all_ranks_if_one_is_killed")
        .env(STARTER, "1")
        .output()
        .unwrap();
    // The ranks write to the same pipe, which ends when the last of them does.
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(out.contains("<answer>rank 1 was ended by signal 6"), "{out}");
}
