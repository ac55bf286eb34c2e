//! Finished files: conversion to other disk formats, compression, checksums.
