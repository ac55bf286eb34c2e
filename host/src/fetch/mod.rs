//! Downloads into the store: parallel, resumed, retried; the only module that touches the network.
