//! A batch in parts: the shares of the parts add up to the loss of the whole, their gradients
//! to its gradient, and the sums of the parts to the score of the whole.

use tch::{Kind, Tensor};
use unet3d::loss::{self, Totals, with_gradient_of};
use unet3d::metric;
use unet3d::target::{Labels, Weights};

use crate::cases::{self, Case, difference};

/// Adds up what parts join, and then gives the totals out: as ranks and accumulated batches do.
#[derive(Default)]
struct Ledger {
    sums: Vec<Tensor>,
    next: usize,
    known: bool,
    first: bool,
}

impl Totals for Ledger {
    fn join(&mut self, local: Tensor) -> anyhow::Result<Tensor> {
        let index = self.next;
        self.next += 1;
        if self.known {
            return with_gradient_of(&self.sums[index], &local);
        }
        match self.sums.get_mut(index) {
            Some(sum) => *sum = &*sum + local.detach(),
            None => self.sums.push(local.detach()),
        }
        Ok(local)
    }

    fn is_first(&self) -> bool {
        self.first
    }
}

/// Samples `from` to `to` of a case as (logits or probabilities, labels, weights).
fn part(case: &Case, input: &str, from: i64, to: i64) -> (Tensor, Labels, Option<Weights>) {
    let cut = |tensor: Tensor| tensor.narrow(0, from, to - from).copy();
    let float = |t: Tensor| if t.is_floating_point() { t.to_kind(Kind::Double) } else { t };
    let labels = Labels::Dense(float(cut(case.tensor("target"))));
    let weights = case.maybe_tensor("weight").map(|weight| Weights::Dense(float(cut(weight))));
    (cut(case.tensor(input)).to_kind(Kind::Double), labels, weights)
}

/// One-hot labels of the case in compact form, if they are that.
fn compact(labels: &Labels) -> Option<Labels> {
    let Labels::Dense(dense) = labels else { return None };
    let binary = dense.eq(0).logical_or(&dense.eq(1)).all().int64_value(&[]) == 1;
    if dense.dim() != 5 || !binary {
        return None;
    }
    let counts = dense.sum_dim_intlist(&[1i64][..], false, Kind::Double);
    if counts.max().double_value(&[]) > 1.0 {
        return None;
    }
    let index = dense.argmax(1, false).masked_fill(&counts.eq(0), unet3d::target::NO_CLASS);
    Some(Labels::OneHot { index, channels: dense.size()[1] })
}

#[test]
fn the_shares_of_parts_add_up_to_the_loss() {
    let (mut tried, mut compactly) = (Vec::new(), 0);
    for case in cases::read("loss", "cases.h5") {
        let samples = case.tensor("logits").size()[0];
        if samples < 2 {
            continue;
        }
        let tree = case.config("loss");
        let found = loss::read(tree.root.get("loss").unwrap()).unwrap();
        for form in ["dense", "compact"] {
            let read = |from, to| {
                let (logits, labels, weights) = part(&case, "logits", from, to);
                match form {
                    "dense" => Some((logits, labels, weights)),
                    _ => compact(&labels).map(|labels| (logits, labels, weights)),
                }
            };
            let Some((logits, labels, weights)) = read(0, samples) else { continue };
            compactly += usize::from(form == "compact");
            let logits = logits.set_requires_grad(true);
            let wanted = found.forward(&logits, &labels, weights.as_ref()).unwrap();
            wanted.backward();

            let mut ledger = Ledger::default();
            let (mut sum, mut gradients) = (0.0, Vec::new());
            for known in [false, true] {
                for n in 0..samples {
                    let (own, labels, weights) = read(n, n + 1).unwrap();
                    let own = own.set_requires_grad(true);
                    ledger = Ledger { next: 0, known, first: n == 0, ..ledger };
                    let share = found.share(&own, &labels, weights.as_ref(), &mut ledger).unwrap();
                    if known {
                        share.backward();
                        sum += share.double_value(&[]);
                        gradients.push(own.grad());
                    }
                }
            }
            let joined = found.joined(logits.size()[1] as usize);
            let lengths: Vec<_> = ledger.sums.iter().map(|sum| sum.numel()).collect();
            assert_eq!(lengths, joined.lengths, "{}", case.name);
            let off = difference(&Tensor::from(sum), &wanted.detach());
            assert!(off < 1e-9, "{}, {form}: off by {off:e}", case.name);
            let off = difference(&Tensor::cat(&gradients, 0), &logits.grad());
            assert!(off < 1e-9, "{}, {form}: gradient off by {off:e}", case.name);
            tried.push(found.name());
        }
    }
    for name in loss::LOSSES.fork.names() {
        assert!(tried.contains(&name), "no case of several samples tries {name}");
    }
    assert!(compactly > 3, "{compactly} cases in compact form");
}

#[test]
fn the_sums_of_parts_add_up_to_the_score() {
    let mut tried = Vec::new();
    for case in cases::read("metric", "cases.h5") {
        let samples = case.tensor("probabilities").size()[0];
        if samples < 2 {
            continue;
        }
        let tree = case.config("eval_metric");
        let found = metric::read(&tree.root).unwrap();
        let (input, labels, weights) = part(&case, "probabilities", 0, samples);
        let wanted = found.score(&input, &labels, weights.as_ref()).unwrap();
        let mut totals = vec![0.0; found.length(input.size()[1] as usize)];
        for n in 0..samples {
            let (input, labels, weights) = part(&case, "probabilities", n, n + 1);
            let sums = found.sums(&input, &labels, weights.as_ref()).unwrap();
            assert_eq!(sums.len(), totals.len(), "{}", case.name);
            totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        let score = found.value(&totals).unwrap();
        assert_eq!(score.is_some(), wanted.is_some(), "{}", case.name);
        if let (Some(score), Some(wanted)) = (score, wanted) {
            let off = (score - wanted).abs();
            assert!(off < 1e-9 || score == wanted, "{}: {score}, not {wanted}", case.name);
        }
        tried.push(found.name());
    }
    for name in metric::METRICS.fork.names() {
        assert!(tried.contains(&name), "no case of several samples tries {name}");
    }
}
