// The tabs that a fresh playground opens. With demo customers they can be run as they are; without, each says what
// to put in.

const NO_ONE = { account: 'acc_…', iban: 'DE…', token: null };
const EMPTY_BANK = { lisa: NO_ONE, david: NO_ONE, operator: { token: null } };

/** The tabs, signed in as the demo customers where there are any. */
export function tabs(demo) {
  const { lisa, david, operator } = demo ?? EMPTY_BANK;
  const as = (who, { token }, query) => ({
    query: `# ${token ? 'Signed in' : 'Sign in'} as ${who}, under Headers.\n${query}`,
    headers: token ? JSON.stringify({ authorization: `Bearer ${token}` }, null, 2) : '',
  });
  const customer = (name) => (demo ? name : 'a customer');
  return [
    { query: REGISTER, headers: '' },
    as(customer('Lisa'), lisa, OPEN_ACCOUNT),
    as('an operator', operator, deposit(lisa)),
    as(customer('Lisa'), lisa, pay(lisa, david)),
    as(customer('David'), david, watchBalance(david)),
    as(customer('David'), david, OVERVIEW),
  ];
}

const REGISTER = `# Anybody may register. A token is for Headers.
mutation Register {
  registerCustomer(
    input: {
      name: "Ada"
      email: "ada@example.org"
    }
  ) {
    customer {
      id
      name
    }
    token
    errors {
      code
      message
    }
  }
}
`;

const OPEN_ACCOUNT = `mutation OpenAccount {
  openAccount(input: { currency: "EUR" }) {
    account {
      id
      iban
      status
      balance {
        booked {
          amount
          currency
        }
      }
    }
    errors {
      code
      message
    }
  }
}
`;

const deposit = (to) => `mutation Deposit {
  deposit(
    input: {
      accountId: "${to.account}"
      amount: {
        amount: "50.00"
        currency: "EUR"
      }
      reference: "Cash"
    }
  ) {
    payment {
      id
      status
    }
    errors {
      code
      message
    }
  }
}
`;

const pay = (from, to) => `mutation Pay {
  initiatePayment(
    input: {
      debtorAccountId: "${from.account}"
      creditorIban: "${to.iban}"
      amount: {
        amount: "20.00"
        currency: "EUR"
      }
      reference: "Lunch"
    }
  ) {
    payment {
      id
      status
      creditor {
        name
      }
    }
    errors {
      code
      message
    }
  }
}
`;

const watchBalance = (of) => `subscription WatchBalance {
  balanceChanged(
    accountId: "${of.account}"
  ) {
    booked {
      amount
      currency
    }
    available {
      amount
    }
    version
    asOf
  }
}
`;

const OVERVIEW = `query Overview {
  viewer {
    name
    accounts {
      nodes {
        iban
        balance {
          booked {
            amount
            currency
          }
        }
        transactions(first: 10) {
          nodes {
            direction
            amount {
              amount
            }
            counterparty {
              name
            }
            reference
            bookedAt
            balanceAfter {
              amount
            }
          }
        }
      }
    }
  }
}
`;
