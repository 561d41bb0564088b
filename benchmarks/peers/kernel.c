/* The toy in plain C: 16 cells side by side, the pairs' logits only, Adam. A thread takes blocks. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 16, UNITS = 64, PROMPTS = 4, RESPONSES = 10 };
enum { SIZE = PROMPTS * UNITS + UNITS + RESPONSES * UNITS + RESPONSES };
typedef float Lane[LANES];
typedef struct {
  Lane first[PROMPTS][UNITS], first_bias[UNITS], last[RESPONSES][UNITS], last_bias[RESPONSES];
} Params;
static const int CHOSEN[PROMPTS] = {0, 1, 2, 3}, REJECTED[PROMPTS] = {4, 6, 7, 5};

static void forward(const Params *restrict p, Lane hidden[PROMPTS][UNITS], Lane margin[PROMPTS]) {
  for (int x = 0; x < PROMPTS; x++) {
    const int c = CHOSEN[x], r = REJECTED[x];
    Lane sum;
    for (int l = 0; l < LANES; l++) sum[l] = p->last_bias[c][l] - p->last_bias[r][l];
    for (int i = 0; i < UNITS; i++)
      for (int l = 0; l < LANES; l++) {
        float a = p->first[x][i][l] + p->first_bias[i][l];
        a = a > 0 ? a : 0;
        hidden[x][i][l] = a;
        sum[l] += a * (p->last[c][i][l] - p->last[r][i][l]);
      }
    memcpy(margin[x], sum, sizeof sum);
  }
}

static void backward(const Params *restrict p, Lane hidden[PROMPTS][UNITS], Lane slope[PROMPTS],
                     Params *restrict g) {
  memset(g->first_bias, 0, sizeof g->first_bias);
  for (int x = 0; x < PROMPTS; x++) {
    const int c = CHOSEN[x], r = REJECTED[x];
    for (int i = 0; i < UNITS; i++)
      for (int l = 0; l < LANES; l++) {
        const float h = hidden[x][i][l], d = slope[x][l];
        const float up = h > 0 ? d * (p->last[c][i][l] - p->last[r][i][l]) : 0;
        g->first[x][i][l] = up;
        g->first_bias[i][l] += up;
        g->last[c][i][l] = d * h;
        g->last[r][i][l] = -d * h;
      }
    for (int l = 0; l < LANES; l++) {
      g->last_bias[c][l] = slope[x][l];
      g->last_bias[r][l] = -slope[x][l];
    }
  }
}

static void adam(float *restrict p, float *restrict m, float *restrict v, const float *restrict g,
                 const float *restrict rate, float scale) {
  for (int k = 0; k < SIZE; k++)
    for (int l = 0; l < LANES; l++) {
      const int i = k * LANES + l;
      m[i] = 0.9f * m[i] + 0.1f * g[i];
      v[i] = 0.999f * v[i] + 0.001f * g[i] * g[i];
      p[i] -= rate[l] * m[i] / (sqrtf(v[i] * scale) + 1e-8f);
    }
}

static void block(const float *start, const float *beta, const float *rate, int steps, float *end) {
  Params *all = aligned_alloc(64, 4 * sizeof(Params)), *p = all, *m = all + 1, *v = all + 2,
         *g = all + 3;
  Lane hidden[PROMPTS][UNITS], margin[PROMPTS], reference[PROMPTS], slope[PROMPTS], now;
  memset(all, 0, 4 * sizeof(Params));
  for (int k = 0; k < SIZE; k++)
    for (int l = 0; l < LANES; l++) ((float *)p)[k * LANES + l] = start[k];
  forward(p, hidden, reference);
  double one = 1, two = 1;
  for (int step = 0; step < steps; step++) {
    one *= 0.9, two *= 0.999;
    forward(p, hidden, margin);
    for (int x = 0; x < PROMPTS; x++)
      for (int l = 0; l < LANES; l++)
        slope[x][l] = -beta[l] / PROMPTS / (1 + expf(beta[l] * (margin[x][l] - reference[x][l])));
    backward(p, hidden, slope, g);
    for (int l = 0; l < LANES; l++) now[l] = rate[l] / (float)(1 - one);
    adam((float *)p, (float *)m, (float *)v, (float *)g, now, (float)(1 / (1 - two)));
  }
  memcpy(end, p, sizeof(Params));
  free(all);
}

typedef struct {
  const float *start, *beta, *rate;
  int blocks, steps, first, stride;
  float *end;
} Job;

static void *work(void *given) {
  const Job *job = given;
  for (int b = job->first; b < job->blocks; b += job->stride)
    block(job->start, job->beta + b * LANES, job->rate + b * LANES, job->steps,
          job->end + (long)b * SIZE * LANES);
  return 0;
}

void train(const float *start, const float *beta, const float *rate, int blocks, int steps,
           int threads, float *end) {
  pthread_t handles[64];
  Job jobs[64];
  for (int t = 0; t < threads; t++) {
    jobs[t] = (Job){start, beta, rate, blocks, steps, t, threads, end};
    pthread_create(handles + t, 0, work, jobs + t);
  }
  for (int t = 0; t < threads; t++) pthread_join(handles[t], 0);
}
