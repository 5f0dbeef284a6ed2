//! Values and gradients of every loss (`tests/fixtures/make_loss.py`).

use tch::{Kind, Tensor};
use unet3d::loss::{self, LOSSES};
use unet3d::target::{Labels, Weights};

use crate::cases::{self, Case, difference};

/// Value and gradient that the program finds for a case.
fn run(case: &Case, kind: Kind) -> (Tensor, Tensor) {
    let tree = case.config("loss");
    let found = loss::read(tree.root.get("loss").unwrap()).unwrap();
    let logits = case.tensor("logits").to_kind(kind).set_requires_grad(true);
    let target = case.tensor("target");
    // As a loader gives them: what is float comes in the network's type.
    let like = |t: Tensor| if t.kind() == Kind::Int64 { t } else { t.to_kind(kind) };
    let weight = case.maybe_tensor("weight").map(like).map(Weights::Dense);
    let value = found.forward(&logits, &Labels::Dense(like(target)), weight.as_ref()).unwrap();
    assert_eq!((value.kind(), value.dim()), (kind, 0), "{}", case.name);
    value.backward();
    (value.detach(), logits.grad())
}

#[test]
fn values_and_gradients_are_those_of_the_formulas() {
    let cases = cases::read("loss", "cases.h5");
    for case in &cases {
        let (value, gradient) = run(case, Kind::Double);
        let off = difference(&value, &case.tensor("value"));
        assert!(off < 1e-9, "{}: value off by {off:e}", case.name);
        let off = difference(&gradient, &case.tensor("gradient"));
        assert!(off < 1e-9, "{}: gradient off by {off:e}", case.name);
    }
    let tried: Vec<_> = cases.iter().map(name_of).collect();
    for name in LOSSES.fork.names() {
        assert!(tried.iter().any(|tried| tried == name), "no case tries {name}");
    }
}

#[test]
fn float32_is_close() {
    for case in cases::read("loss", "cases.h5") {
        let (value, gradient) = run(&case, Kind::Float);
        let off = difference(&value, &case.tensor("value"));
        assert!(off < 1e-5, "{}: value off by {off:e}", case.name);
        let off = difference(&gradient, &case.tensor("gradient"));
        assert!(off < 1e-4, "{}: gradient off by {off:e}", case.name);
    }
}

fn name_of(case: &Case) -> String {
    case.config("loss").root.at("loss.name").unwrap().text().unwrap().to_string()
}
