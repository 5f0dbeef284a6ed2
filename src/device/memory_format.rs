//! The order of a network's feature maps in memory, and which one is taken where.

use std::fmt;

use raw_cpuid::CpuId;
use tch::{Device, Kind, TchError, Tensor};

use crate::config::{Parameter, Section};
use crate::ffi::tensor::to_layout;

use super::Kinds;

/// The key `memory_format` at the top of a configuration.
pub const MEMORY_FORMAT: Parameter = Parameter::choice(
    "memory_format",
    "channels_last",
    MemoryFormat::WORDS,
    "order of feature maps in memory; if absent, chosen by kind of processor",
)
.optional();

/// The order in which the values of (N, C, D, H, W) tensors lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryFormat {
    /// One channel after the other: NCDHW.
    ChannelsFirst,
    /// The channels of a voxel side by side: NDHWC.
    ChannelsLast,
}

impl MemoryFormat {
    const WORDS: &'static [&'static str] = &["channels_first", "channels_last"];

    /// Reads [`MEMORY_FORMAT`].
    pub fn read(top: &Section<'_>) -> Option<Self> {
        top.maybe_text(MEMORY_FORMAT.name).and_then(Self::named)
    }

    /// The format of this name, as [`MemoryFormat::name`] gives it.
    pub fn named(name: &str) -> Option<Self> {
        [MemoryFormat::ChannelsFirst, MemoryFormat::ChannelsLast]
            .into_iter()
            .find(|format| format.name() == name)
    }

    /// The word that a configuration has for it.
    pub fn name(self) -> &'static str {
        match self {
            MemoryFormat::ChannelsFirst => Self::WORDS[0],
            MemoryFormat::ChannelsLast => Self::WORDS[1],
        }
    }

    pub fn other(self) -> Self {
        match self {
            MemoryFormat::ChannelsFirst => MemoryFormat::ChannelsLast,
            MemoryFormat::ChannelsLast => MemoryFormat::ChannelsFirst,
        }
    }

    /// The tensor in this order; copied only if it is in another.
    pub fn apply(self, tensor: &Tensor) -> Result<Tensor, TchError> {
        to_layout(tensor, self == MemoryFormat::ChannelsLast)
    }
}

impl fmt::Display for MemoryFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a network is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Training,
    Prediction,
}

/// A memory format and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatChoice {
    pub format: MemoryFormat,
    pub reason: String,
    /// Whether the format was measured on this kind of device, or somebody asked for it.
    /// What is not certain may be timed.
    pub certain: bool,
}

impl fmt::Display for FormatChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory format {}: {}", self.format, self.reason)
    }
}

impl FormatChoice {
    /// The format that was asked for, or the usual one on the device.
    pub fn new(
        asked: Option<MemoryFormat>,
        device: Device,
        kinds: Kinds,
        purpose: Purpose,
    ) -> Self {
        if let Some(format) = asked {
            return FormatChoice { format, reason: "`memory_format`".into(), certain: true };
        }
        if device != Device::Cpu {
            return FormatChoice {
                format: MemoryFormat::ChannelsFirst,
                reason: "nothing was measured on such a device".into(),
                certain: true,
            };
        }
        Self::on(&Processor::detect(), kinds, purpose)
    }

    /// The format on a processor.
    fn on(processor: &Processor, kinds: Kinds, purpose: Purpose) -> Self {
        let measured = MEASURED.iter().find(|measured| measured.processor == *processor);
        FormatChoice {
            format: measured.unwrap_or(&UNKNOWN).of(kinds, purpose),
            reason: match measured {
                Some(_) => format!("measured on {processor}"),
                None => format!("a guess for {processor}"),
            },
            certain: measured.is_some(),
        }
    }
}

/// A kind of CPU, as far as the speed of convolutions depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processor {
    vendor: Vendor,
    avx512: bool,
    amx: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vendor {
    Amd,
    Intel,
    Other,
}

impl Processor {
    /// The kind of CPU that this process runs on.
    pub fn detect() -> Self {
        let cpu = CpuId::new();
        let vendor = match cpu.get_vendor_info() {
            Some(vendor) if vendor.as_str() == "AuthenticAMD" => Vendor::Amd,
            Some(vendor) if vendor.as_str() == "GenuineIntel" => Vendor::Intel,
            _ => Vendor::Other,
        };
        let features = cpu.get_extended_feature_info();
        Processor {
            vendor,
            avx512: features.as_ref().is_some_and(raw_cpuid::ExtendedFeatures::has_avx512f),
            amx: features.as_ref().is_some_and(raw_cpuid::ExtendedFeatures::has_amx_tile),
        }
    }
}

impl fmt::Display for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vendor = match self.vendor {
            Vendor::Amd => "AMD",
            Vendor::Intel => "Intel",
            Vendor::Other => "other",
        };
        let instructions = match (self.avx512, self.amx) {
            (_, true) => "AMX",
            (true, false) => "AVX-512",
            (false, false) => "no AVX-512",
        };
        write!(f, "{vendor} processors with {instructions}")
    }
}

/// The formats for a kind of CPU on which both were measured (`bench/README.md`).
struct Measured {
    processor: Processor,
    /// Of training in float32 and float64.
    training: MemoryFormat,
    /// Of training whose convolutions use bfloat16.
    training_bf16: MemoryFormat,
    prediction: MemoryFormat,
}

const MEASURED: [Measured; 2] = [
    // EPYC, Zen 5: gradients of norms and of upsampling cost more, channels last, than
    // convolutions in float32 gain.
    Measured { processor: Processor { vendor: Vendor::Amd, avx512: true, amx: false }, ..UNKNOWN },
    // Xeon, Sapphire Rapids. Channels last, an iteration in float32 takes 0.8 of the time, but
    // torch's group norm then adds a channel's voxels one after the other in float32, and a run
    // of few iterations, which has the channels first, is no longer the beginning of a long one.
    Measured { processor: Processor { vendor: Vendor::Intel, avx512: true, amx: true }, ..UNKNOWN },
];

/// What is taken on other processors, if there is no time to measure.
const UNKNOWN: Measured = Measured {
    processor: Processor { vendor: Vendor::Other, avx512: false, amx: false },
    training: MemoryFormat::ChannelsFirst,
    training_bf16: MemoryFormat::ChannelsLast,
    prediction: MemoryFormat::ChannelsLast,
};

impl Measured {
    fn of(&self, kinds: Kinds, purpose: Purpose) -> MemoryFormat {
        match (purpose, kinds.convolutions) {
            (Purpose::Prediction, _) => self.prediction,
            (Purpose::Training, Kind::BFloat16) => self.training_bf16,
            (Purpose::Training, _) => self.training,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_wins() {
        let kinds = Kinds::from(Kind::Float);
        for format in [MemoryFormat::ChannelsFirst, MemoryFormat::ChannelsLast] {
            for purpose in [Purpose::Training, Purpose::Prediction] {
                let choice = FormatChoice::new(Some(format), Device::Cpu, kinds, purpose);
                assert_eq!((choice.format, choice.certain), (format, true));
            }
            assert_eq!(MemoryFormat::named(format.name()), Some(format));
            assert_ne!(format.other(), format);
        }
    }

    #[test]
    fn only_measured_processors_are_certain() {
        let kinds = Kinds::from(Kind::Float);
        let plain = Processor { vendor: Vendor::Intel, avx512: false, amx: false };
        let choice = FormatChoice::on(&plain, kinds, Purpose::Training);
        assert_eq!((choice.format, choice.certain), (MemoryFormat::ChannelsFirst, false));
        assert!(choice.reason.contains("Intel processors with no AVX-512"), "{}", choice.reason);
        for measured in &MEASURED {
            assert!(FormatChoice::on(&measured.processor, kinds, Purpose::Training).certain);
        }
    }
}
