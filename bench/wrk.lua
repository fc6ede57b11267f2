-- What wrk is to send beyond GET, and its figures in a form that can be read: there is no function per request or response, so
-- the load stays wrk's own.
if os.getenv("BENCH_POST") then
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/octet-stream"
  wrk.body = string.rep("x", tonumber(os.getenv("BENCH_POST")))
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    "bench: requests=%d bytes=%d duration=%d p50=%d p99=%d status=%d connect=%d read=%d write=%d timeout=%d\n",
    summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
