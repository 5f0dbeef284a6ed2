//! Which rank this process is, from the environment that its starter made.

use std::env;

/// The variable by which [`super::Ranks`] tells a process that it is one of its ranks.
pub(super) const STARTED_BY: &str = "UNET3D_STARTED_BY";

/// The place of a process among the ranks of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// This rank, counted from 0.
    pub rank: usize,
    /// Number of ranks.
    pub size: usize,
    /// Number of this rank on its machine, from 0.
    pub local_rank: usize,
    /// Ranks on this machine, if the starter tells.
    pub local_size: Option<usize>,
    /// The machine of rank 0, and the port at which it waits for the others.
    pub host: String,
    pub port: u16,
    /// Whether this program started the ranks itself, and watches them.
    pub watched: bool,
}

/// Variables of the environment that do not say a place.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PlaceError(String);

impl Place {
    /// The place that the environment tells: by the variables of torchrun, or within an `srun`
    /// step of several tasks by Slurm's. `None` if it tells none, or of one process only.
    ///
    /// # Errors
    /// Variables that are missing or impossible.
    pub fn of_environment() -> Result<Option<Place>, PlaceError> {
        Self::read(&|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Place>, PlaceError> {
        let place = match (variable("RANK"), variable("WORLD_SIZE")) {
            (Some(_), Some(_)) => Some(Self::of_torchrun(variable)?),
            _ if variable("SLURM_STEP_ID").is_some() => Self::of_slurm(variable)?,
            _ => None,
        };
        let Some(place) = place.filter(|place| place.size > 1) else { return Ok(None) };
        if place.rank >= place.size {
            return Err(PlaceError(format!(
                "the environment says rank {} of {} processes; ranks count from 0",
                place.rank, place.size
            )));
        }
        Ok(Some(place))
    }

    fn of_torchrun(variable: &dyn Fn(&str) -> Option<String>) -> Result<Place, PlaceError> {
        let size = number(variable, "WORLD_SIZE")?;
        let alone = size == 1;
        Ok(Place {
            rank: number(variable, "RANK")?,
            size,
            local_rank: match variable("LOCAL_RANK") {
                Some(_) => number(variable, "LOCAL_RANK")?,
                None => 0,
            },
            local_size: variable("LOCAL_WORLD_SIZE").and_then(|text| text.parse().ok()),
            host: match variable("MASTER_ADDR") {
                Some(host) => host,
                None if alone => String::new(),
                None => return Err(missing("MASTER_ADDR")),
            },
            port: match variable("MASTER_PORT") {
                None if alone => 0,
                _ => number(variable, "MASTER_PORT")?,
            },
            watched: variable(STARTED_BY).is_some(),
        })
    }

    fn of_slurm(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Place>, PlaceError> {
        if variable("SLURM_STEP_NUM_TASKS").is_none_or(|count| count == "1") {
            return Ok(None);
        }
        let list = variable("SLURM_STEP_NODELIST").or_else(|| variable("SLURM_NODELIST"));
        let list = list.ok_or_else(|| missing("SLURM_STEP_NODELIST"))?;
        let job: u64 = number(variable, "SLURM_JOB_ID")?;
        let step: u64 = variable("SLURM_STEP_ID").and_then(|id| id.parse().ok()).unwrap_or(0);
        Ok(Some(Place {
            rank: number(variable, "SLURM_PROCID")?,
            size: number(variable, "SLURM_STEP_NUM_TASKS")?,
            local_rank: number(variable, "SLURM_LOCALID")?,
            local_size: None,
            host: match variable("MASTER_ADDR") {
                Some(host) => host,
                None => first_host(&list),
            },
            port: match variable("MASTER_PORT") {
                Some(_) => number(variable, "MASTER_PORT")?,
                // Below the ports that systems give out themselves; steps of one job differ.
                None => 12_000 + ((job + 7919 * step) % 20_000) as u16,
            },
            watched: false,
        }))
    }
}

fn missing(name: &str) -> PlaceError {
    PlaceError(format!(
        "the environment says that several processes train together, but {name} is not set: set \
         RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, or none of them"
    ))
}

fn number<T: std::str::FromStr>(
    variable: &dyn Fn(&str) -> Option<String>,
    name: &str,
) -> Result<T, PlaceError> {
    let text = variable(name).ok_or_else(|| missing(name))?;
    text.trim().parse().map_err(|_| PlaceError(format!("{name} is '{text}', not a number")))
}

/// The first host of a list as Slurm writes it, such as `gpu[03-05,9],login`.
fn first_host(list: &str) -> String {
    let Some((start, rest)) = list.split_once('[') else {
        return list.split(',').next().unwrap_or_default().to_string();
    };
    if let Some((first, _)) = start.split_once(',') {
        return first.to_string();
    }
    let (numbers, end) = rest.split_once(']').unwrap_or((rest, ""));
    let first = numbers.split([',', '-']).next().unwrap_or_default();
    format!("{start}{first}{}", end.split(',').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Place>, String> {
        let of = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| value.to_string())
        };
        Place::read(&of).map_err(|error| error.to_string())
    }

    #[test]
    fn slurm_tells_a_place_within_a_step_only() {
        let step = [
            ("SLURM_JOB_ID", "70001"),
            ("SLURM_PROCID", "3"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_STEP_NUM_TASKS", "4"),
            ("SLURM_STEP_NODELIST", "gpu[03-05,9],login"),
        ];
        assert_eq!(read(&step), Ok(None), "the batch script itself");
        let within = [&step[..], &[("SLURM_STEP_ID", "0")]].concat();
        let place = read(&within).unwrap().unwrap();
        assert_eq!((place.rank, place.size, place.local_rank), (3, 4, 1));
        assert_eq!((&place.host[..], place.port), ("gpu03", 22_001));
        for (list, first) in [("a", "a"), ("a,b[1-2]", "a"), ("n[7,9]-ib", "n7-ib")] {
            assert_eq!(first_host(list), first);
        }
    }

    #[test]
    fn torchrun_tells_a_place() {
        let all = [
            ("RANK", "1"),
            ("WORLD_SIZE", "2"),
            ("LOCAL_RANK", "0"),
            ("MASTER_ADDR", "head"),
            ("MASTER_PORT", "29500"),
        ];
        let place = read(&all).unwrap().unwrap();
        assert_eq!((place.rank, place.size, &place.host[..]), (1, 2, "head"));
        assert_eq!(read(&[("RANK", "0"), ("WORLD_SIZE", "1")]), Ok(None));
        assert!(read(&all[..4]).unwrap_err().contains("MASTER_PORT is not set"));
        let beyond = [&[("RANK", "2")], &all[1..]].concat();
        assert!(read(&beyond).unwrap_err().contains("rank 2 of 2"));
        let wrong = [&[("RANK", "x")], &all[1..]].concat();
        assert!(read(&wrong).unwrap_err().contains("RANK is 'x'"));
    }
}
