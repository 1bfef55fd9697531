//! kube-proxy's configuration: the ConfigMap as kubeadm writes it, and what of it we obey.
//!
//! Pure. `mode` and `ipvs.strictARP` count; the rest is there because people know it from `kubectl edit`.

use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;

use crate::runner::ProxyMode;

/// The ConfigMap's namespace.
pub(crate) const NAMESPACE: &str = "kube-system";
/// The ConfigMap's name, and the DaemonSet's.
pub(crate) const CONFIG_MAP: &str = "kube-proxy";
/// The key of the configuration in it.
const KEY: &str = "config.conf";

/// The configuration as kubeadm 1.33 writes it, with this mode.
pub(crate) fn config_conf(mode: ProxyMode) -> String {
    let (mode, strict_arp) = match mode {
        ProxyMode::Ipvs { strict_arp } => ("ipvs", strict_arp),
        ProxyMode::Iptables => ("iptables", false),
    };
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: \"\"
  burst: 0
  contentType: \"\"
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.233.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
enableProfiling: false
healthzBindAddress: \"\"
hostnameOverride: \"\"
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: \"\"
  strictARP: {strict_arp}
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
metricsBindAddress: \"\"
mode: {mode}
nodePortAddresses: null
oomScoreAdj: null
portRange: \"\"
"
    )
}

/// What a ConfigMap asks for. One that cannot be read asks for the defaults: mode iptables. (The real program would refuse to start.)
pub(super) fn mode(map: &ConfigMap) -> ProxyMode {
    let text = map.data.as_ref().and_then(|data| data.get(KEY)).map_or("", String::as_str);
    let configuration: Configuration = serde_saphyr::from_str(text).unwrap_or_else(|error| {
        tracing::warn!(%error, "the kube-proxy ConfigMap cannot be read; its defaults are taken");
        Configuration::default()
    });
    if configuration.mode.as_deref() == Some("ipvs") {
        let strict_arp = configuration.ipvs.and_then(|ipvs| ipvs.strict_arp).unwrap_or(false);
        ProxyMode::Ipvs { strict_arp }
    } else {
        ProxyMode::Iptables
    }
}

#[derive(Default, Deserialize)]
struct Configuration {
    mode: Option<String>,
    ipvs: Option<Ipvs>,
}

#[derive(Deserialize)]
struct Ipvs {
    #[serde(rename = "strictARP")]
    strict_arp: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ProxyMode {
        mode(&ConfigMap { data: Some([(KEY.to_owned(), text.to_owned())].into()), ..ConfigMap::default() })
    }

    #[test]
    fn what_is_seeded_reads_back() {
        for mode in [ProxyMode::Iptables, ProxyMode::Ipvs { strict_arp: false }, ProxyMode::Ipvs { strict_arp: true }] {
            assert_eq!(read(&config_conf(mode)), mode);
        }
    }

    #[test]
    fn the_tutorials_edit_turns_strict_arp_on() {
        let edited = config_conf(ProxyMode::Ipvs { strict_arp: false }).replace("strictARP: false", "strictARP: true");
        assert_eq!(read(&edited), ProxyMode::Ipvs { strict_arp: true });
    }

    #[test]
    fn what_cannot_be_read_is_iptables() {
        for text in ["", "- a list", "mode: [", "mode: \"\"", "mode: nftables"] {
            assert_eq!(read(text), ProxyMode::Iptables, "{text}");
        }
    }
}
